"""Infrastructure: the API emulator, a local broker, and the files for deployment."""
