"""A clock that only the test advances."""

from dataclasses import dataclass

START = 1_800_000_000.0


@dataclass
class Clock:
    """A clock of seconds since the epoch, or of monotonic seconds, that only the test changes."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock; a negative number sets it back."""
        self.now += seconds
