"""AMQP header tables converted to JSON and back, and their maximum depth.

Waiting messages and exported dead letters contain the JSON form. A value that JSON has no type for becomes
an object with one key, a tag such as ``$bytes``.
"""

import base64
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

MAX_DEPTH: Final = 32
"""Levels of tables and arrays in a header's value. AMQP has no limit, but recursive encoders and decoders
have one: pika fails at about 490 levels, the JSON parser at 200."""

_DECIMAL = re.compile(r"-?\d{1,400}(?:\.\d{1,400})?(?:E[+-]?\d{1,9})?")


def too_deep(value: object) -> bool:
    """Return whether a header's value has more than ``MAX_DEPTH`` levels. Does not recurse."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for each in level for child in _children(each)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    match value:
        case dict():
            return value.values()
        case list() | tuple():
            return value
        case _:
            return ()


def headers_to_json(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return an AMQP table as JSON; ``headers_from_json`` reverses it.

    The caller ensures that values have at most ``MAX_DEPTH`` levels.
    """
    return {str(key): _to_json(item) for key, item in headers.items()}


def _to_json(value: Any) -> Any:
    match value:
        case bytes():
            return {"$bytes": base64.b64encode(value).decode()}
        case datetime():
            return {"$time": value.replace(tzinfo=value.tzinfo or UTC).isoformat()}
        case Decimal():
            return {"$decimal": str(value)}
        case float() if not math.isfinite(value):
            return {"$float": str(value)}
        case dict():
            table = {str(key): _to_json(item) for key, item in value.items()}
            return {"$table": table} if _is_tag(table) else table
        case list() | tuple():
            return [_to_json(item) for item in value]
        case str() | int() | float() | None:
            return value
        case _:
            return {"$text": str(value)}


def headers_from_json(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the AMQP table that ``headers_to_json`` was given. Raises ``ValueError``."""
    return {key: _from_json(item) for key, item in value.items()}


def _from_json(value: Any) -> Any:
    match value:
        case dict() if _is_tag(value):
            [(tag, content)] = value.items()
            return _untag(tag, content)
        case dict():
            return {key: _from_json(item) for key, item in value.items()}
        case list():
            return [_from_json(item) for item in value]
        case _:
            return value


def _is_tag(table: Mapping[str, Any]) -> bool:
    return len(table) == 1 and next(iter(table)).startswith("$")


def _untag(tag: str, content: Any) -> Any:
    match tag, content:
        case "$bytes", str():
            return base64.b64decode(content, validate=True)
        case "$time", str():
            return datetime.fromisoformat(content)
        case "$decimal", str() if _DECIMAL.fullmatch(content):
            return Decimal(content)
        case "$float", "nan" | "inf" | "-inf":
            return float(content)
        case "$text", str():
            return content
        case "$table", dict():
            return {key: _from_json(item) for key, item in content.items()}
        case _:
            raise ValueError("an unknown tag in the original's headers")
