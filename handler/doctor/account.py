"""Which account signs in, and where each of its values is from."""

from collections.abc import Iterator

from handler.bootstrap import PLAINTEXT
from handler.doctor.findings import Finding
from handler.errors import SnapshotBackupError
from handler.printable import printable
from handler.settings import Settings
from handler.sources import Sources
from handler.vbs.auth.account import Account, Domain, Scope, User
from handler.vbs.auth.choose import SignIn, select_sign_in

_BESIDE_CLOUD = (
    *("OS_CLOUD", "OS_CLIENT_", "OS_REGION_NAME", "OS_INTERFACE", "OS_ENDPOINT_TYPE"),
    *("OS_CACERT", "OS_CERT", "OS_KEY", "OS_INSECURE", "OS_IDENTITY_API_VERSION"),
)
"""Variables that are used beside ``OS_CLOUD``, or say nothing about who signs in."""


def examine_account(settings: Settings, sources: Sources) -> Iterator[Finding]:
    """Yield the account of each cloud, what it costs that http is allowed, and what has no effect.

    Settings that are no sign-in yield nothing: another check names what is wrong with them.
    """
    try:
        sign_in = select_sign_in(settings)
    except SnapshotBackupError:
        return
    for account in sign_in.accounts:
        yield Finding("settings", "account", "ok", f"{_who(account)}; {_origins(account, sources)}")
    yield from _plaintext(sign_in, settings)
    if sign_in.method == "cloud":
        yield from _without_effect(sources)


def _who(account: Account) -> str:
    cloud = f"cloud {account.name}: " if account.name else ""
    identity = account.identity
    if identity.credential:
        who = f"application credential {_named(identity.credential)}"
    else:
        who = f"user {_named(identity.user)}" if identity.user else "a token"
    scope = f" to {_scope(account.scope)}" if account.scope else ""
    return printable(f"{cloud}{who} signs in{scope} at {account.auth_url}")


def _scope(scope: Scope) -> str:
    if scope.kind == "system":
        return "the system"
    return f"{scope.kind} {_named(User(scope.id, scope.name, scope.domain))}"


def _named(thing: User | Domain) -> str:
    domain = f" of domain {_named(thing.domain)}" if isinstance(thing, User) and thing.domain else ""
    return f"{thing.id or thing.name}{domain}"


def _origins(account: Account, sources: Sources) -> str:
    """Return the names of the values, by what they are from."""
    by_source: dict[str, list[str]] = {}
    for origin in account.origins:
        found = sources.settings.get(origin.source)
        name = origin.source if found and account.name else origin.key
        by_source.setdefault(found.source if found else origin.source, []).append(name)
    return "; ".join(f"from {printable(source)}: {', '.join(names)}" for source, names in by_source.items())


def _plaintext(sign_in: SignIn, settings: Settings) -> Iterator[Finding]:
    text, remedy = PLAINTEXT.split(". ", 1)
    for variable in sign_in.unencrypted(settings):
        name, _, rest = variable.partition(": ")
        yield Finding("settings", name, "warning", " ".join(filter(None, (rest, text))), remedy)


def _without_effect(sources: Sources) -> Iterator[Finding]:
    names = [
        name for name in sources.settings if name.startswith("OS_") and not name.startswith(_BESIDE_CLOUD)
    ]
    if names:
        text = "set, but without effect: the cloud of OS_CLOUD signs in with what its files have"
        yield Finding("settings", ", ".join(names), "warning", text, "remove them, or OS_CLOUD")
