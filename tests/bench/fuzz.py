"""Run a fuzz target many times: ``python -m tests.bench.fuzz --target headers --examples 1000000``.

Prints inputs, rate and peak memory, or the seed of the first input that breaks a promise. ``--first SEED
--examples 1`` repeats it.
"""

import argparse
import random
import resource
import sys
import time

from tests.fuzzing import TARGETS


def main() -> None:
    """Run a fuzz target for the given number of inputs, for at most ``--seconds``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=TARGETS, required=True)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first input")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long")
    arguments = parser.parse_args()
    target = TARGETS[arguments.target]()
    began, done = time.monotonic(), 0
    early = 0
    for seed in range(arguments.first, arguments.first + arguments.examples):
        try:
            target.check(random.Random(seed))
        except BaseException:
            print(f"{arguments.target}: seed {seed} breaks a promise", file=sys.stderr)
            raise
        done += 1
        if done == arguments.examples // 10:
            early = _peak()
        if time.monotonic() - began > arguments.seconds:
            break
    target.close()
    seconds = time.monotonic() - began
    print(
        f"{arguments.target}: {done:,} inputs in {seconds:.0f} s, {done / seconds:,.0f}/s; "
        f"peak {_peak() / 1024:.1f} MB, after a tenth {early / 1024:.1f} MB"
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
