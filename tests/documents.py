"""Code blocks of the documents, for tests that check or run them."""

import re

CODE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks in a language, or with an empty name those without one."""
    return [code for found, code in CODE.findall(text) if found == language]
