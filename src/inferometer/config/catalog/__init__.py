"""Targets that come with the product, as partial plans: what they say holds unless a flag or a file says otherwise."""
