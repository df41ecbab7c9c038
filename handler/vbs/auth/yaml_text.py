"""A loader of YAML that keeps every scalar as its text; only null is None. Needs the extra ``clouds``."""

from typing import Any, Final

import yaml

MOST_KEYS: Final = 10_000
"""Of one mapping, with those that ``<<`` merges: a few lines of aliases could multiply them without end."""


class TooMany(ValueError):
    """A mapping merges too many keys."""


class TextLoader(yaml.SafeLoader):
    """Makes texts, lists and mappings. A password ``0123`` or ``1.10`` is no number."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what ``<<`` names. Raises ``TooMany``."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_KEYS:
            raise TooMany


def _text(loader: TextLoader, node: Any) -> str:
    return str(loader.construct_scalar(node))


for tag in ("bool", "int", "float", "timestamp"):
    TextLoader.add_constructor(f"tag:yaml.org,2002:{tag}", _text)
