"""When to send: seeded arrival times, and the timer that waits for them."""
