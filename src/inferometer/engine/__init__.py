"""Servers that a run starts itself: the simulator, or a real small model on this machine's CPU."""
