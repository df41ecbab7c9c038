"""Checks of settings that are valid one by one: do they fit together, and which of them carry a risk?"""

from collections.abc import AsyncIterator, Iterator

from handler.backup.rules import load_rules
from handler.bootstrap import UNAUTHENTICATED, group_limits
from handler.broker.connection import Tls
from handler.doctor.findings import Finding
from handler.errors import ExtraMissing, SettingsError
from handler.ledger.stores import open_ledger
from handler.settings import NAMES, OWN_SNAPSHOTS, Settings
from handler.sources import Sources
from handler.unknown_names import unknown_names
from handler.vbs.auth.choose import choose_auth, select_sign_in
from handler.vbs.cloud.choose import choose_endpoints
from handler.vbs.cloud.several import check_endpoints
from handler.vbs.transport.http import http_client
from handler.worker.worker import CLASSIC

_CALLS_PER_MESSAGE = 4
_CONSUMER_TIMEOUT = 1800.0
"""RabbitMQ's default ``consumer_timeout``: after so many seconds it requeues an unacknowledged
message. A delayed message is acknowledged, so only the API calls for one message count; each may take twice
``VBS_TIMEOUT``."""


def settings_finding(problem: str) -> Finding:
    """Return a finding for a problem that begins with the variable's name."""
    variable, colon, text = problem.partition(": ")
    if not colon:
        variable, text = "settings", problem
    remedy = f"correct {variable}; handler/README.md lists all settings"
    return Finding("settings", variable.partition(" in ")[0], "bad", text, remedy)


def examine_names(sources: Sources) -> Iterator[Finding]:
    """Yield a finding for each variable that looks like a setting and is none."""
    for name, source, meant in unknown_names(sources.others, NAMES):
        text = f"is no setting and has no effect (from {source}); {meant}"
        yield Finding("settings", name, "warning", text, f"rename {name}, or remove it")


async def examine_settings(settings: Settings) -> AsyncIterator[Finding]:
    """Yield a finding for each problem, or one that there is none; then the warnings."""
    problems = [problem async for problem in _problems(settings)]
    for problem in problems:
        yield settings_finding(problem)
    if not problems:
        yield Finding("settings", "settings", "ok", "complete and valid")
    for advice in _advice(settings):
        yield advice


async def _problems(settings: Settings) -> AsyncIterator[str]:
    try:
        sign_in = select_sign_in(settings)
        if len(sign_in.accounts) > 1:
            check_endpoints(settings, sign_in.accounts)
        for each in sign_in.each:
            async with http_client(settings, each.tls, each.auth_url) as client:
                auth = choose_auth(settings, client, sign_in=each)
                choose_endpoints(settings, client, auth, each.account)
    except SettingsError as error:
        yield str(error)
    except ExtraMissing as error:
        yield f"OS_CLOUD: {error}"
    ledger_url = settings.ledger_url.get_secret_value()
    for make in (
        Tls(settings.amqp_ca_file, settings.amqp_cert_file, settings.amqp_key_file).context,
        lambda: load_rules(settings.rules_file) if settings.rules_file else None,
        lambda: group_limits(settings),
        lambda: open_ledger(ledger_url, lease_seconds=settings.lease_seconds),
    ):
        try:
            make()
        except SettingsError as error:
            yield str(error)


def _advice(settings: Settings) -> Iterator[Finding]:
    if settings.queue_type == "classic":
        yield Finding("settings", "QUEUE_TYPE", "warning", f"classic: {CLASSIC}")
    if settings.unauthenticated:
        text, remedy = UNAUTHENTICATED.split(". ", 1)
        yield Finding("settings", "STATE_KEYS", "warning", text, remedy)
    if backed_up := [pattern for pattern in OWN_SNAPSHOTS if pattern not in settings.skip_snapshots]:
        yield Finding(
            "settings",
            "SKIP_SNAPSHOTS",
            "warning",
            "lacks snapshots that the backup service or Cinder makes for its own work, so that each may lead "
            f"to a backup: {', '.join(backed_up)}",
            f"add them: SKIP_SNAPSHOTS={','.join((*settings.skip_snapshots, *backed_up))}",
        )
    held = _CALLS_PER_MESSAGE * 2 * settings.vbs_timeout
    if held > _CONSUMER_TIMEOUT:
        yield Finding(
            "settings",
            "VBS_TIMEOUT",
            "warning",
            f"handling a message may take {held:.0f} s; by default RabbitMQ requeues it after 1800 s",
            "set VBS_TIMEOUT=225 or less, or raise consumer_timeout at the broker",
        )
    if settings.wait_ladder[-1] > settings.max_age:
        yield Finding(
            "settings",
            "WAIT_LADDER",
            "warning",
            f"its longest delay ({settings.wait_ladder[-1]} s) exceeds MAX_AGE ({settings.max_age:.0f} s)",
            "remove the longest delays, such as WAIT_LADDER=5,30,120, or raise MAX_AGE",
        )
    if settings.vbs_project_id is None:
        yield Finding(
            "settings",
            "VBS_PROJECT_ID",
            "ok",
            "not set: an event that names no project will be dead-lettered",
        )
