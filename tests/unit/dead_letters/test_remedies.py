"""Tests of what operators are told to do about dead letters."""

import re
from pathlib import Path

import pytest

from handler.dead_letters.dead_letter import CATEGORIES
from handler.dead_letters.remedies import CODES, REMEDIES, remedy

GUIDE = Path(__file__).parents[3] / "handler" / "dead_letters" / "README.md"
WITH_CODE = re.compile(r"`(\w+)` with code `(\w+)`")


def rows() -> list[list[str]]:
    """Return the cells of the guide's table of categories."""
    text = GUIDE.read_text().partition("## Categories\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_guide_has_the_texts_of_the_program() -> None:
    """The column *do* says for every category, and for each code that decides, what the program says."""
    guide: dict[str | tuple[str, str], str] = {}
    for names, _, _, do in rows():
        if found := WITH_CODE.fullmatch(names):
            guide[found[1], found[2]] = do
        else:
            guide |= dict.fromkeys(re.findall(r"`(\w+)`", names), do)
    ours: dict[str | tuple[str, str], str] = {**dict(CODES.items())}
    ours |= {key: text for key, text in REMEDIES.items() if key != "maxlen"}
    assert ours == guide


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_has_a_remedy(category: str) -> None:
    """No category that a dead letter can have is left without a text."""
    assert category in REMEDIES
    assert "`" not in remedy(category)


def test_a_code_decides_where_its_category_is_too_wide() -> None:
    """A poison message is replayed, whereas other invalid ones are dropped."""
    assert "replay" in remedy("invalid", "poison")
    assert "replay" not in remedy("invalid", "bad_request")


def test_an_invented_category_is_like_an_unknown_one() -> None:
    """Another program may write any category into its headers."""
    assert remedy("unknown") == remedy("whatever", "code")
