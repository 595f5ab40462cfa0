"""Runs in the result formats of other tools, and theirs as runs. One file per format."""
