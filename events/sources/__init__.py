"""One small module for each form in which a platform tells of a snapshot."""
