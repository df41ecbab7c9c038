"""Time that passes when a test says so."""

from dataclasses import dataclass

START = 1_800_000_000.0


@dataclass
class Clock:
    """Seconds since the epoch, and monotonic seconds as well: nobody sets this clock but the test."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; a negative number is a clock set back."""
        self.now += seconds
