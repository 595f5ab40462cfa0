"""How it is shown: pure functions from a summary to text. Nothing is computed here and nothing is printed."""
