"""Unit tests of the entry of ``infra/up``: how an early Ctrl-C and a full output end it."""

import errno
import sys
from types import SimpleNamespace

import pytest

from infra.local import __main__ as entry


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device"), "failed: the output cannot be written: "),
    ],
)
def test_an_early_interrupt_and_a_full_output_are_one_line(
    error: BaseException, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C before the command handles it, and an output that takes no more, end without a traceback."""

    def raises() -> None:
        raise error

    monkeypatch.setattr("handler.streams.prepare", lambda: None)
    monkeypatch.setitem(sys.modules, "infra.local.up", SimpleNamespace(main=raises))

    with pytest.raises(SystemExit) as ended:
        entry.main()

    said = capsys.readouterr().err.strip() or str(ended.value.code)
    assert ended.value.code
    assert said.startswith(line)
    assert "\n" not in said
