"""The FunctionGraph function. Its entry is imported from here; everything else only with the first call."""

from handler.function.entry import close, handler, initializer

__all__ = ["close", "handler", "initializer"]
