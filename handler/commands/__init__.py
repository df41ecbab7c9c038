"""The commands, one small module each; ``handler.cli`` puts them together."""
