"""The emulator's command: `python -m infra.emulator` and `snapshot-backup emulator`."""

import re
from typing import Annotated

import typer

from handler.commands.common import failing_plainly
from handler.commands.values import checked, not_empty
from handler.extras import needing
from handler.loopback import is_loopback
from infra.emulator.settings import Auth, Rules, Settings, Versions

_ROUTE = re.compile("[^:]+:.+")
_PATH = re.compile(r"(/[\w.~-]+)*/?")
_ANOTHER = "give another --port (0 selects a free one) or --host"


def _amqp_url(value: str) -> str:
    if not value.startswith(("amqp://", "amqps://")):
        raise ValueError("is not an AMQP URL, such as amqp://guest:guest@127.0.0.1:5672/")
    return value


def _route(value: str) -> str:
    if not _ROUTE.fullmatch(value):
        raise ValueError(f"{value!r} is not an exchange and a routing key, such as {Settings.announce_to}")
    return value


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError(f"{value!r} is not a path, such as /volume")
    return value.rstrip("/")


def command(
    *,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 selects a free one.")
    ] = 8776,
    host: Annotated[
        str, typer.Option(metavar="HOST", callback=checked(not_empty), help="Address to listen on.")
    ] = "127.0.0.1",
    settle: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Seconds until a backup is available.")
    ] = 1.0,
    rules: Annotated[
        Rules,
        typer.Option(metavar="RULES", help="Rules for requests: page (the API page's) or cinder (Cinder's)."),
    ] = "page",
    strict: Annotated[bool, typer.Option("--strict", help="Know declared snapshots only.")] = False,
    microversion: Annotated[
        int, typer.Option(metavar="N", min=0, help="The newest microversion of /v3 is 3.N.")
    ] = 64,
    race: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="Seconds within which concurrent creates are all accepted."
        ),
    ] = 0.005,
    quota_backups: Annotated[
        int, typer.Option(metavar="N", min=-1, help="How many backups a project may have; -1: no limit.")
    ] = -1,
    quota_gigabytes: Annotated[
        int, typer.Option(metavar="N", min=-1, help="How many gigabytes a project may have; -1: no limit.")
    ] = -1,
    auth: Annotated[
        Auth, typer.Option(metavar="SIGN-IN", help="The sign-in that each call needs: none, token or aksk.")
    ] = "none",
    username: Annotated[
        str, typer.Option(metavar="NAME", help="User name for the token request.")
    ] = Settings.username,
    password: Annotated[
        str, typer.Option(metavar="TEXT", help="Password for the token request.")
    ] = Settings.password,
    domain: Annotated[
        str | None, typer.Option(metavar="NAME", help="The user's only domain; default: each.")
    ] = None,
    credential_id: Annotated[
        str, typer.Option(metavar="ID", help="Id of the application credential.")
    ] = Settings.credential_id,
    credential_name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the application credential.")
    ] = Settings.credential_name,
    credential_secret: Annotated[
        str, typer.Option(metavar="TEXT", help="Secret of the application credential.")
    ] = Settings.credential_secret,
    project_id: Annotated[
        str | None, typer.Option(metavar="ID", help="The only project that is served; default: all.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A token that never expires, valid for every project.")
    ] = None,
    token_ttl: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Seconds that a token is valid.")
    ] = 86400.0,
    ak: Annotated[str, typer.Option(metavar="TEXT", help="Access key.")] = "emulator-ak",
    sk: Annotated[str, typer.Option(metavar="TEXT", help="Secret of the access key.")] = "emulator-sk",
    security_token: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Security token; makes the access key a temporary one.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed for faults with a probability.")] = 0,
    announce: Annotated[
        str | None,
        typer.Option(
            metavar="AMQP_URL",
            callback=checked(_amqp_url),
            help="Let each backup make a snapshot of its own, as backup services do, and announce it here.",
        ),
    ] = None,
    announce_to: Annotated[
        str,
        typer.Option(
            metavar="EXCHANGE:KEY",
            callback=checked(_route),
            help="Where it is announced: an exchange and a routing key.",
        ),
    ] = Settings.announce_to,
    path: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            callback=checked(_path),
            help="Path of the API before its version, such as /volume.",
        ),
    ] = "",
    evs_path: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            callback=checked(_path),
            help="Path where snapshots are shown instead of beside the backups.",
        ),
    ] = None,
    versions: Annotated[
        Versions,
        typer.Option(metavar="VERSIONS", help="The versions of the API that exist: both, v2 or v3."),
    ] = "both",
) -> None:
    """Serve a local stand-in of the backup API on loopback, with faults on demand.

    Without --strict, every volume and snapshot exists as soon as a request names it. When ready, the command
    prints one line, "listening on http://..."; Ctrl-C or SIGTERM ends it.

    \b
    Examples:
      snapshot-backup emulator
      snapshot-backup emulator --port 0 --settle 0.1 --strict
      curl 127.0.0.1:8776/_emulator/backups
      curl -X PUT 127.0.0.1:8776/_emulator/faults -d '[{
        "route": "create", "effect": "drop_after"}]'
    """
    settings = Settings(
        settle=settle,
        rules=rules,
        strict=strict,
        microversion=microversion,
        race=race,
        quota_backups=quota_backups,
        quota_gigabytes=quota_gigabytes,
        auth=auth,
        username=username,
        password=password,
        domain=domain,
        credential_id=credential_id,
        credential_name=credential_name,
        credential_secret=credential_secret,
        project_id=project_id,
        token=token,
        token_ttl=token_ttl,
        ak=ak,
        sk=sk,
        security_token=security_token,
        seed=seed,
        announce=announce,
        announce_to=announce_to,
        path=path,
        evs_path=evs_path,
        versions=versions,
    )
    with failing_plainly(), needing("emulator", "starlette", "uvicorn"):
        # Imported here, so that --help works without the extra.
        from infra.emulator.server import serve
    _warn_beyond_loopback(host)
    try:
        serve(settings, host, port, lambda url: print(f"listening on {url}", flush=True))
    except OSError as problem:
        typer.echo(f"cannot listen on {host}:{port}: {_reason(problem)}; {_ANOTHER}", err=True)
        raise typer.Exit(1) from None


def _reason(problem: OSError) -> str:
    """Return the system's words, without the address that Python adds to them."""
    return str(problem.strerror).partition(" (")[0]


def _warn_beyond_loopback(host: str) -> None:
    if not is_loopback(host):
        typer.echo(f"warning: {host} is reachable from other machines; this is a test tool", err=True)
