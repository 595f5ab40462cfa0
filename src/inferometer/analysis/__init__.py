"""What it means: pure functions from records to numbers, and from numbers to a verdict on the instrument itself."""
