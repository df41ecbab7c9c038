"""``snapshot-backup worker``: consumes snapshot events until it is stopped."""

from typing import Annotated

import typer

from handler.commands.common import failing_plainly
from handler.settings import load
from handler.supervisor.agreement import check_agreement
from handler.supervisor.child import Membership
from handler.supervisor.cores import usable_cores
from handler.telemetry import logs

_MOST = 1024


def _membership(text: str | None) -> Membership | None:
    """Read the option that a supervisor gives to its workers."""
    try:
        return Membership.parse(text) if text else None
    except ValueError:
        raise typer.BadParameter(
            "a supervisor gives it to its workers; use --processes", param_hint="'--supervised'"
        ) from None


def worker(
    processes: Annotated[
        int,
        typer.Option(
            min=0, max=_MOST, metavar="N", help="Worker processes; 0: one for each core that may be used."
        ),
    ] = 1,
    supervised: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Consume snapshot events until SIGTERM.

    After SIGTERM it finishes messages in progress within DRAIN_SECONDS; a second
    signal ends it at once.

    With --processes N a supervisor starts N workers, starts again what ends, and
    shows all of them at HTTP_ADDRESS as one. They share LEDGER_URL; CONCURRENCY
    holds for each.

    All settings are environment variables, also read from .env and from files in
    SECRETS_DIR; snapshot-backup settings lists them. VBS_ENDPOINT must be set, unless
    the sign-in has a service catalogue: OS_CLOUD, or OS_AUTH_URL with a user or an
    application credential.
    """
    membership = _membership(supervised)
    count = processes or usable_cores()
    with failing_plainly():
        loaded = load()
        settings = loaded.settings
        logs.set_up(settings.log_level, settings.log_format, worker=membership and membership.number)
        if membership:
            check_agreement(settings, membership.agreed)
        if membership or count == 1:
            from handler.commands import one_worker

            one_worker.run(loaded, membership)
            return
        from handler.supervisor.run import supervise

        code = supervise(settings, count)
    raise typer.Exit(code)
