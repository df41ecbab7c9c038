"""The order of the test files, and which of them share a process."""

from pathlib import Path

import pytest

from tests.scheduling import LONG, SHARING, place_of, unit_of

TESTS = Path(__file__).parents[1]
SHARED = [name for names in SHARING for name in names]


@pytest.mark.parametrize("name", [*SHARED, *LONG])
def test_every_file_in_the_order_exists(name: str) -> None:
    """A file that is renamed keeps its place only if the order names it anew."""
    assert (TESTS / f"{name}.py").is_file()


@pytest.mark.parametrize("name", SHARED)
def test_files_that_share_a_broker_need_a_private_one(name: str) -> None:
    """Each file of the process with one broker uses that broker, itself or by its folder's fixtures."""
    files = (TESTS / f"{name}.py", (TESTS / name).with_name("conftest.py"))
    assert any("own_broker" in file.read_text() for file in files if file.exists())


def test_files_in_the_order_come_first() -> None:
    """A file that the order names comes before one that it does not name."""
    assert place_of("tests/chaos/test_connection.py::test_a") < place_of("tests/chaos/test_order.py::test_b")


def test_files_that_share_a_broker_share_a_process() -> None:
    """The files of each group are one unit of work, and any other file is one for itself."""
    names = (*SHARED, "chaos/test_order", "chaos/test_model")
    units = {unit_of(f"tests/{name}.py::test_a") for name in names}
    assert {"broker 0", "broker 1", "chaos/test_order", "chaos/test_model"} == units
