"""The commands of the command line, one small module each; ``handler.cli`` registers them."""
