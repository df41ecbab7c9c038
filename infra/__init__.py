"""What it runs on: the API emulator, the local broker, deployment."""
