"""Unit tests of ``JsonTexts``: it splits lines, arrays and indented documents into their objects."""

import json
import random

import pytest

from events.json_texts import BadJsonError, JsonTexts

OBJECTS = [{"a": 1}, {"b": {"c": ["}", "]", "\n", "ü", '\\"']}}, {}, {"d": "x" * 100}]
LINES = "\n\n".join(json.dumps(each) for each in OBJECTS) + "\n"
ARRAY = json.dumps(OBJECTS, indent=2)
INDENTED = "\n".join(json.dumps(each, indent=4, ensure_ascii=False) for each in OBJECTS)
SHAPES = {
    "lines": LINES,
    "lines of Windows": LINES.replace("\n", "\r\n"),
    "an array": ARRAY,
    "an array on one line": json.dumps(OBJECTS),
    "an array on each line": json.dumps(OBJECTS[:2]) + "\n" + json.dumps(OBJECTS[2:]),
    "indented documents": INDENTED,
    "joined files with marks": "\ufeff" + LINES.replace("\n\n", "\n\ufeff"),
}


def read(text: str, size: int, limit: int = 10_000) -> list[tuple[object, int]]:
    """Return the objects of a text that comes in parts of this size, and their lines."""
    texts = JsonTexts(limit)
    parts = [text[at : at + size] for at in range(0, len(text), size)] or [""]
    found = [each for part in parts for each in texts.feed(part, last=False)]
    found += texts.feed("", last=True)
    return [(json.loads(each.text), each.line) for each in found]


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_its_objects(shape: str, size: int) -> None:
    """Each shape of a text gives the same objects, however long the parts are in which it comes."""
    assert OBJECTS == [value for value, _ in read(SHAPES[shape], size)]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(("shape", "lines"), [("lines", [1, 3, 5, 7]), ("an array", [2, 5, 16, 17])])
def test_an_object_has_the_number_of_its_line(shape: str, lines: list[int], size: int) -> None:
    """The line of each object is that in which it begins."""
    assert lines == [line for _, line in read(SHAPES[shape], size)]


def test_an_object_is_returned_as_it_is_written() -> None:
    """The text of an object has its spaces, escapes and repeated keys."""
    text = '{ "a" : 1.50,"a":NaN, "\\u0062": [ ] }'

    assert [text] == [each.text for each in JsonTexts(100).feed(f"[{text}]", last=True)]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("{}\n\n{no", 3, "not JSON: Expecting property name"),
        ('{}\n{"a": 1\n{"b": 2}', 2, "(line 3)"),
        ("{}\ntext", 2, "not a JSON object"),
        ('{}\n"text"', 2, "not a JSON object"),
        ("{},\n{}", 1, "not a JSON object"),
        ("[{},\n]", 2, "']' is unexpected"),
        ("[{}\n{}]", 2, "'{' is unexpected"),
        ("[\n1]", 2, "'1' is unexpected"),
        ("[\n{},\n[{}]]", 3, "'[' is unexpected"),
        ("{}\n[{}", 2, "has no end"),
        ("{}\n{" + '"a":{' * 100_000, 2, "nested too deeply"),
        ('{}\n{"a": "' + "x" * 20_000 + '"}', 2, "more than 10000 characters"),
    ],
)
@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_an_error_has_the_line_of_the_bad_object(text: str, line: int, problem: str, size: int) -> None:
    """The error of a bad text names the line in which the bad object begins, and says what is wrong."""
    with pytest.raises(BadJsonError) as caught:
        read(text, size, limit=10_000 if "x" * 20_000 in text else 1_000_000)

    assert line == caught.value.line
    assert problem in caught.value.problem


def test_only_the_object_at_hand_is_kept() -> None:
    """After each part, no more is kept than the object that has not ended yet."""
    texts, part = JsonTexts(1_000), (json.dumps({"a": "x" * 90}) + "\n") * 7

    for _ in range(1_000):
        assert 7 == len(list(texts.feed(part, last=False)))
        assert texts.pending <= 1


def test_random_texts_give_objects_or_an_error() -> None:
    """A damaged text gives objects of JSON or an error with a line that the text has."""
    rng = random.Random(20261126)
    print("seed 20261126")
    for _ in range(1_000):
        text = list(rng.choice(list(SHAPES.values())))
        for _ in range(rng.randrange(4)):
            text[rng.randrange(len(text))] = rng.choice('{}[],:"\\\n x1')
        whole = "".join(text)
        assert 1 <= line_of_error(whole, rng.choice([3, 50, 1_000])) <= whole.count("\n") + 1


def line_of_error(text: str, size: int) -> int:
    """Return the line of the error that a text is refused with, 1 if it is read."""
    try:
        read(text, size)
    except BadJsonError as error:
        return error.line
    return 1
