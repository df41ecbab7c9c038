"""The commands of the command line, one small module each; ``catalogue`` lists them."""
