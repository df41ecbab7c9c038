"""Which process runs which file, and in which order, where ``infra/test`` runs tests in several."""

from xdist.scheduler.loadfile import LoadFileScheduling  # type: ignore[import-untyped]

LONG = (
    "chaos/test_lost_waits", "chaos/test_api_trouble", "chaos/test_connection", "conformance/test_answers",
    "conformance/test_outcomes", "conformance/ledger/test_ledgers", "chaos/test_half_open",
    "chaos/test_ledger_hangs", "integration/test_first_hour", "integration/test_wheel", "integration/test_up",
    "integration/test_waiting",
)  # fmt: skip
"""Files that take long. They come first, so that no process works on one when the others have ended."""

SHARING = (
    (
        "chaos/test_bystanders", "chaos/test_too_large", "integration/test_clouds",
        "integration/test_outcome_routes", "integration/dead_letters/test_rights",
    ),
    (
        "integration/doctor/test_broker", "integration/test_refused_start", "integration/test_topology",
        "integration/doctor/test_policies",
    ),
)  # fmt: skip
"""Files that need a private broker and leave it as it was: a process runs several with one, since a start
takes five seconds of CPU. The last one changes the broker's configuration."""

_FIRST = {name: place for place, name in enumerate((*SHARING[0], *SHARING[1], *LONG))}
_UNITS = {name: f"broker {number}" for number, names in enumerate(SHARING) for name in names}


def name_of(nodeid: str) -> str:
    """Return a test's file as it is named here."""
    return nodeid.partition("::")[0].removeprefix("tests/").removesuffix(".py")


def place_of(nodeid: str) -> int:
    """Return where a test's file comes; the others keep their order."""
    return _FIRST.get(name_of(nodeid), len(_FIRST))


def unit_of(nodeid: str) -> str:
    """Return what a test is run with in one process: the tests of its file, or of all that share a broker."""
    name = name_of(nodeid)
    return _UNITS.get(name, name)


class Scheduling(LoadFileScheduling):  # type: ignore[misc]
    """Schedules by ``unit_of``."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
