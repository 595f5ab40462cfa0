"""What to send: prompts of exact lengths, all from a seed."""
