"""A sparkline: a row of bars as SVG, without a script. Pure."""

from collections.abc import Sequence

from markupsafe import Markup

_HEIGHT = 24
_STEP, _WIDTH = 5, 4


def sparkline(numbers: Sequence[int], label: str) -> Markup:
    """Return a bar for each number, the highest for the greatest; ``label`` is what a screen reader says."""
    most = max([*numbers, 1])
    # What is more than none is seen.
    heights = [max(round(number * _HEIGHT / most), 1 if number else 0) for number in numbers]
    bars = Markup("").join(
        Markup('<rect x="{}" y="{}" width="{}" height="{}"/>').format(
            place * _STEP, _HEIGHT - height, _WIDTH, height
        )
        for place, height in enumerate(heights)
        if height
    )
    width = max(len(numbers) * _STEP, 1)
    return Markup('<svg class="sparkline" role="img" aria-label="{}" width="{}" height="{}">{}</svg>').format(
        label, width, _HEIGHT, bars
    )
