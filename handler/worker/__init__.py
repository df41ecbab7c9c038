"""The worker: consumes the queue until it is stopped."""
