"""The entry of ``infra/up``: Ctrl-C while the program is imported, or an output that is full, is one line."""

import sys

from handler import streams


def main() -> None:
    """Run the command, and end the process."""
    streams.prepare()
    try:
        with streams.ending_at_interrupt():
            from infra.local.up import main as run
        run()
    except KeyboardInterrupt:
        streams.say_interrupted()
        sys.exit(1)
    except OSError as error:
        if not streams.is_full(error):
            raise
        sys.exit(f"failed: the output cannot be written: {error.strerror}")


if __name__ == "__main__":
    main()
