"""What happened: one record per request, and the run directory that keeps them."""
