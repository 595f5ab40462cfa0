"""What the server says of itself: asked before a run, and meanwhile."""
