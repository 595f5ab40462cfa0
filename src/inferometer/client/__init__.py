"""Send and stamp: the hot path. Nothing but stamp and store happens between two reads."""
