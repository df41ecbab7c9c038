"""Puts the parts together by the settings; the one place that knows the concrete classes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from events.state_keys import StateKeys
from handler.backup.breaker import CircuitBreaker
from handler.backup.clouds import AnyBreaker, Breakers, Cloud, Clouds
from handler.backup.control_watch import ControlWatch
from handler.backup.inquiry import Inquiry
from handler.backup.policy import Limits
from handler.backup.ports import Api, Outbox
from handler.backup.process import Process
from handler.backup.result import Job, Result
from handler.backup.selection import Selection
from handler.backup.services import MessageSettings, Services
from handler.broker.addresses import Addresses
from handler.broker.connection import BrokerConnection, Tls
from handler.broker.outbox import BrokerOutbox
from handler.broker.routes import Routes
from handler.broker.topology import DELIVERY_LIMIT, Topology
from handler.broker.upkeep import Upkeep
from handler.errors import SettingsError
from handler.ledger.ledger import StoredLedger
from handler.ledger.stores import open_ledger
from handler.settings import NAMES, Settings, uncounted
from handler.sources import Sources
from handler.telemetry.telemetry import Telemetry, open_telemetry
from handler.unknown_names import unknown_names
from handler.vbs.auth.choose import Context, SignIn, choose_auth, select_sign_in
from handler.vbs.client import VbsClient
from handler.vbs.cloud.choose import choose_endpoints
from handler.vbs.transport.http import http_client

if TYPE_CHECKING:
    from handler.backup.limits import GroupLimit
    from handler.backup.rules import Rule

log = logging.getLogger(__name__)

UNAUTHENTICATED = (
    "not set, and LEDGER_URL=none keeps no key: waiting messages are not authenticated, so a producer can "
    "forge their state. Set the same STATE_KEYS for all workers and functions of the queue"
)
"""What ``LEDGER_URL=none`` without ``STATE_KEYS`` costs."""

PLAINTEXT = (
    "is http, and VBS_ALLOW_PLAINTEXT=true allows it: any host that sees this network's traffic can read the "
    "password or the token, and make and delete backups with it. Give the server a certificate, and use https"
)
"""What plain http to another machine costs."""


_NEEDS_V3 = (
    "metadata and availability_zone of a rule are not sent with VBS_API_VERSION=v2; set VBS_API_VERSION=v3 "
    "for OpenStack Cinder"
)


def topology(settings: Settings) -> Topology:
    """Make the topology: the names of exchanges and queues."""
    return Topology(
        queue=settings.snapshot_queue,
        snapshot_exchange=settings.snapshot_exchange,
        result_exchange=settings.result_exchange,
        delays=settings.wait_ladder,
        quorum=settings.queue_type == "quorum",
        foreign=settings.snapshot_bindings,
    )


def warn_of_unknown_names(sources: Sources) -> None:
    """Log each variable that looks like a setting and is none."""
    for each in unknown_names(sources.others, NAMES):
        log.warning("%s", each, extra={"action": "settings.unknown"})


def warn_of_plaintext(sign_in: SignIn, settings: Settings) -> None:
    """Log each URL to which secrets are sent unencrypted, since ``VBS_ALLOW_PLAINTEXT`` allows it."""
    for variable in sign_in.unencrypted(settings):
        log.warning("%s: %s", variable, PLAINTEXT, extra={"action": "sign_in.plaintext"})


def addresses(settings: Settings, *, moving: bool = False) -> Addresses:
    """Make the addresses of the broker; ``moving`` is for programs that go on over another connection."""
    tls = Tls(settings.amqp_ca_file, settings.amqp_cert_file, settings.amqp_key_file)
    return Addresses([url.get_secret_value() for url in settings.amqp_url], tls, moving=moving)


async def open_connection(settings: Settings) -> BrokerConnection:
    """Connect to the broker once. Raises ``ConnectionLost``."""
    return await addresses(settings).connect()


def message_settings(settings: Settings, home: str | None) -> MessageSettings:
    """Collect the settings for the handling of a message; ``home`` is the account's own project."""
    limits = Limits(
        delays=settings.wait_ladder,
        max_attempts=settings.max_attempts,
        max_age=settings.max_age,
        settle_time=settings.vbs_timeout,
    )
    return MessageSettings(
        limits=limits,
        default_project=settings.vbs_project_id,
        max_body_bytes=settings.max_body_bytes,
        track_backups=settings.track_backups,
        track_deadline=settings.track_deadline,
        queue=settings.snapshot_queue,
        home=home,
        crash_limit=DELIVERY_LIMIT,
    )


async def state_keys(settings: Settings, ledger: StoredLedger) -> StateKeys | None:
    """Return the keys that authenticate waiting messages: ``STATE_KEYS``, or the one kept in the ledger.

    None where there is neither: then waiting messages are not authenticated. Raises ``LedgerUnavailable``.
    """
    keys = tuple(key.get_secret_value().encode() for key in settings.state_keys)
    if settings.unauthenticated:
        return None
    return StateKeys(settings.snapshot_queue, keys or ((await ledger.state_key()).encode(),))


class Parts(NamedTuple):
    """The parts that live as long as the program, across connections."""

    settings: Settings
    api: Api
    ledger: StoredLedger
    breaker: AnyBreaker
    selection: Selection
    telemetry: Telemetry
    routes: Routes
    control: ControlWatch
    clouds: Clouds | None = None
    """The clouds, where ``OS_CLOUD`` names several."""
    home: str | None = None
    """The project of the account, as far as the settings tell it."""

    async def state_keys(self) -> StateKeys | None:
        """Return what authenticates waiting messages; see ``state_keys``. Raises ``LedgerUnavailable``."""
        return await state_keys(self.settings, self.ledger)

    def process(self, outbox: Outbox, keys: StateKeys | None, *, drop_copies: bool = False) -> Process:
        """Make a process that publishes through ``outbox`` and signs waiting messages with ``keys``.

        ``drop_copies`` says that redeliveries are counted, so that copies can be told from them.
        """
        settings = message_settings(self.settings, self.home)
        make = partial(
            Process,
            outbox=outbox,
            selection=self.selection,
            notify=self.telemetry.handled,
            follow=self.telemetry.follow,
            drop_copies=drop_copies,
        )

        def services(api: Api, breaker: CircuitBreaker, settings: MessageSettings) -> Services:
            inquiry, control = Inquiry(api, breaker), self.control.current
            second = self.telemetry.second_backup
            return Services(api, self.ledger, breaker, settings, time.time, keys, inquiry, control, second)

        if isinstance(self.breaker, CircuitBreaker):
            return make(services=services(self.api, self.breaker, settings))
        clouds = self.clouds
        if clouds is None:
            raise ValueError("several circuit breakers need several clouds")
        made: dict[tuple[str, str | None], Process] = {}

        async def handle(cloud: Cloud, job: Job) -> Result:
            key = (cloud.name, cloud.project_id)
            if key not in made:
                own = settings._replace(home=cloud.project_id)
                made[key] = make(services=services(cloud.api, cloud.breaker, own))
            return await made[key].result(job)

        async def route(job: Job) -> Result:
            age = time.time() - job.state.first_seen
            return await clouds.result(job, handle, too_old=age >= settings.limits.max_age)

        first = clouds.clouds[0]
        return make(services=services(self.api, first.breaker, settings), route=route)

    def outbox(self, connection: BrokerConnection, upkeep: Upkeep | None = None) -> BrokerOutbox:
        """Make the outbox of a connection; ``upkeep`` is a worker's."""
        return BrokerOutbox(
            connection,
            topology(self.settings),
            upkeep=upkeep,
            ignore_unroutable=self.settings.result_unroutable == "ignore",
            notify=self.telemetry.published,
            routes=self.routes,
        )


@asynccontextmanager
async def parts(settings: Settings, *, agency: Context | None = None) -> AsyncIterator[Parts]:
    """Open the parts, and close them in reverse. Raises ``SettingsError``.

    ``agency`` returns the FunctionGraph context of the running call, which has the credentials.
    """
    if settings.unauthenticated:
        log.warning("STATE_KEYS: %s", UNAUTHENTICATED, extra={"action": "state.unauthenticated"})
    async with AsyncExitStack() as stack:
        telemetry = open_telemetry(settings.snapshot_queue)
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
        sign_in = select_sign_in(settings, agency)
        warn_of_plaintext(sign_in, settings)
        clouds = None
        api: Api
        breaker: AnyBreaker
        if len(sign_in.accounts) > 1:
            from handler.vbs.cloud.routed import RoutedApi
            from handler.vbs.cloud.several import open_clouds

            clouds = open_clouds(
                settings,
                sign_in.accounts,
                stack,
                notify=telemetry.called,
                changed=telemetry.breaker_changed,
            )
            api, breaker = RoutedApi(clouds), Breakers(clouds.clouds)
        else:
            client = http_client(settings, sign_in.tls, sign_in.auth_url)
            stack.push_async_callback(client.aclose)
            auth = choose_auth(settings, client, agency, sign_in=sign_in, notify=telemetry.called)
            api = VbsClient(
                client,
                choose_endpoints(settings, client, auth, sign_in.account, notify=telemetry.called),
                auth=auth,
                timeout=settings.vbs_timeout,
                notify=telemetry.called,
            )
            breaker = CircuitBreaker(
                settings.concurrency,
                time.monotonic,
                doubt_pause=settings.wait_ladder[0],
                notify=telemetry.breaker_changed,
            )
        ledger = open_ledger(
            settings.ledger_url.get_secret_value(),
            lease_seconds=settings.lease_seconds,
            notify=telemetry.committed,
        )
        ledger.second = telemetry.second_backup
        stack.push_async_callback(ledger.aclose)
        selection = Selection(
            settings.skip_snapshots,
            settings.vbs_allowed_projects,
            _rules(settings),
            limits=group_limits(settings),
            max_running=settings.max_running,
            cloud_of=clouds.name_of if clouds else lambda _project_id: "",
        )
        routes = Routes(
            settings.result_exchange,
            probe_seconds=settings.wait_ladder[0],
            notify=telemetry.route_changed,
        )
        home = sign_in.home or settings.vbs_project_id or settings.os_project_id
        control = ControlWatch(ledger, settings.snapshot_queue, settings.concurrency, breaker.resize)
        yield Parts(settings, api, ledger, breaker, selection, telemetry, routes, control, clouds, home)


def group_limits(settings: Settings) -> "Sequence[GroupLimit]":
    """Read the limits of ``RULES_FILE``. Raises ``SettingsError``."""
    if settings.rules_file is None:
        return ()
    from handler.backup.limits import load_limits

    limits = load_limits(settings.rules_file)
    if limits and (problem := uncounted(settings)):
        raise SettingsError(f"RULES_FILE: [[limit]]: {problem}")
    return limits


def _rules(settings: Settings) -> "Sequence[Rule]":
    if settings.rules_file is None:
        return ()
    # Imported where it is used: the import takes 4 ms of a cold start.
    from handler.backup.rules import load_rules

    rules = load_rules(settings.rules_file)
    if settings.vbs_api_version == "v2" and any(rule.needs_v3 for rule in rules):
        log.warning("RULES_FILE: %s", _NEEDS_V3, extra={"action": "api.microversion"})
    return rules
