"""Splits one plan over processes and brings their rows together."""
