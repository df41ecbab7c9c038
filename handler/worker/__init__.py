"""The worker: consumes the queue until it is told to stop."""
