"""Finds what was mistyped around or in a setting's value: quotes, a comment, a placeholder, the name again.

The texts say what to change, and show no part of the value.
"""

import re

_PAIRS = ("\u201c\u201d", "\u2018\u2019", "\u201e\u201c", "\u201a\u2018", "«»", "»«", "``")
"""Quotes of word processors and chats, first and last."""

_QUOTES = frozenset({'"', "'", *"".join(_PAIRS)})

_PLACEHOLDER = re.compile(
    r"<[\w .-]+>|\$\{[^}]*\}|\$\([^)]*\)s?|\{\{[^}]*\}\}|\{\w+\}|%\(\w+\)s|\$[A-Za-z_]\w*|%[A-Z_]+%|…"
)
_COMMENT = re.compile(r"\s(?:#|//)\s")


def slip(name: str, text: str) -> str | None:
    """Return what is surely wrong, whatever the setting may be: its own name, or quotes that are none."""
    if re.match(rf"(?:export\s+|set\s+)?{name}\s*=", text, re.IGNORECASE):
        return "begins with its own name; write what comes after the = alone"
    if len(text) > 1 and text[0] + text[-1] in _PAIRS:
        return 'has typographic quotes around it; write " or no quotes'
    return None


def slip_in_refused(text: str) -> str | None:
    """Return what is probably wrong with a text that the setting cannot have."""
    if _COMMENT.search(text):
        return "has a comment after its value, which is read as part of it; put it on a line of its own"
    if len(text) > 1 and (text[0] in _QUOTES or text[-1] in _QUOTES):
        return "has a quote at one end only; write it at both or at none"
    # What stands before an @ may be a password, which can look like anything.
    if _PLACEHOLDER.search(text.rpartition("@")[2]) or re.search(r"\{\{.*\}\}", text):
        return "has a placeholder in it that nothing has filled in; write the value itself"
    return None
