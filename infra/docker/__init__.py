"""What runs beside the worker when everything runs in containers."""
