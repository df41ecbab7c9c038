"""A local stand-in of the VBS API, with faults on demand."""
