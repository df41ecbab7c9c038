"""Findings of the doctor on policies of a real broker, which its management API shows."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from infra.local.server import RabbitProcess, free_ports
from tests.integration.doctor.looking import Look
from tests.patience import patient

pytestmark = pytest.mark.broker

SetPolicy = Callable[..., None]


@pytest.fixture(scope="module")
def management(own_broker: RabbitProcess) -> str:
    """Switch the management plugin of the module's broker on, and return its URL."""
    (port,) = free_ports(1)
    with (own_broker.folder / "rabbitmq.conf").open("a") as config:
        config.write(f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n")
        config.write("collect_statistics_interval = 1000\n")
    # How soon the plugin shows a new queue's policies.
    (own_broker.folder / "advanced.config").write_text("[{rabbit, [{quorum_tick_interval, 500}]}].\n")
    (own_broker.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
    own_broker.restart()
    return f"http://guest:guest@127.0.0.1:{port}"


@pytest.fixture
def set_policy(management: str, unique: str) -> Iterator[SetPolicy]:
    """Return a function that sets the policy of this test's queues; it is cleared at the end.

    By the management API: a call of ``rabbitmqctl`` takes a second of CPU.
    """
    cleared: list[str] = []

    def make(*, pattern: str = rf"^{unique}(\.|$)", operator: bool = False, **definition: object) -> None:
        url = f"{management}/api/{'operator-policies' if operator else 'policies'}/%2F/{unique}"
        keys = {key.replace("_", "-"): value for key, value in definition.items()}
        body = {"pattern": pattern, "definition": keys, "apply-to": "queues"}
        httpx.put(url, json=body).raise_for_status()
        cleared.append(url)

    yield make
    for url in cleared:
        httpx.delete(url).raise_for_status()


def test_without_the_management_api_it_says_what_it_cannot_see(look: Look) -> None:
    """AMQP shows no policy, and the finding says how to have them checked."""
    found = look(declare=True).one("broker", "ok", "policies")
    assert "AMQP_MANAGEMENT_URL" in found.text


def test_no_policy_is_ok(look: Look, management: str) -> None:
    """A broker without policies gives one finding that is ok."""
    report = look(declare=True, AMQP_MANAGEMENT_URL=management)
    report.one("broker", "ok", "policies", "none that could lose messages")
    assert 0 == report.exit


def test_the_policy_of_kolla_is_bad(
    look: Look, management: str, set_policy: SetPolicy, own_broker: RabbitProcess, unique: str
) -> None:
    """kolla-ansible's TTL and ``expires`` are found on every queue, and the remedy works."""
    set_policy(pattern=r"^(?!(amq\.)|(.*_fanout_)|(reply_)).*", message_ttl=600_000, expires=3_600_000)
    report = look(declare=True, AMQP_MANAGEMENT_URL=management)
    assert 1 == report.exit
    assert {unique, f"{unique}.wait.5s", f"{unique}.wait.30s", f"{unique}.dead"} <= {
        each.what.removeprefix("queue ") for each in report.bad
    }
    dead = report.one("broker", "bad", f"queue {unique}.dead")
    assert f"policy {unique}: " in dead.text
    assert "message-ttl 600 s: the broker drops dead letters" in dead.text
    assert "expires 3600 s" in dead.text
    command = dead.remedy.partition("rabbitmqctl ")[2].replace("'", "").split()
    own_broker.ctl(*command)
    deadline = time.monotonic() + patient(30)  # the plugin shows a change after some seconds
    try:
        while look(AMQP_MANAGEMENT_URL=management).exit:
            assert time.monotonic() < deadline
    finally:
        own_broker.ctl("clear_policy", "snapshot-backup")


@pytest.mark.parametrize(
    ("definition", "end", "word"),
    [
        ({"message_ttl": 1_000}, ".dead", "drops dead letters"),
        ({"message_ttl": 1_000}, "", "without an outcome"),
        ({"expires": 60_000}, ".wait.30s", "deletes it"),
        ({"max_length": 5}, ".dead", "drops messages"),
        ({"max_length": 5}, ".wait.30s", "refuses messages"),
        ({"max_length_bytes": 500, "overflow": "drop-head"}, ".wait.30s", "drops messages"),
        ({"overflow": "drop-head"}, ".wait.30s", "when the broker is killed"),
        ({"delivery_limit": 2}, "", "without an outcome"),
        ({"delivery_limit": 2}, ".dead", "are dropped"),
    ],
)
def test_each_harmful_key_is_found(
    look: Look,
    management: str,
    set_policy: SetPolicy,
    unique: str,
    definition: dict[str, object],
    end: str,
    word: str,
) -> None:
    """Each key that can lose or block messages is bad on the queue that it harms."""
    set_policy(**definition)
    found = look(declare=True, AMQP_MANAGEMENT_URL=management)
    [finding] = [each for each in found.bad if each.what == f"queue {unique}{end}"]
    assert word in finding.text
    assert "rabbitmqctl set_policy" in finding.remedy


def test_harmless_policies_are_no_finding(look: Look, management: str, set_policy: SetPolicy) -> None:
    """What cannot lose messages of ours is not reported: a TTL longer than the delays, another exchange.

    No mirrors are in it: RabbitMQ 3 applies a policy that has them to no quorum queue, and 4 refuses it.
    """
    set_policy(pattern=r"\.wait\.\d+s$", message_ttl=40_000, dead_letter_exchange="other")
    report = look(declare=True, AMQP_MANAGEMENT_URL=management)
    assert 0 == report.exit
    report.one("broker", "ok", "policies", "none that could lose messages")


def test_a_message_ttl_below_the_delay_is_a_warning(
    look: Look, management: str, set_policy: SetPolicy, unique: str
) -> None:
    """Messages that come back too early are handled early, and nothing is lost."""
    set_policy(pattern=r"\.wait\.30s$", message_ttl=6_000)
    report = look(declare=True, AMQP_MANAGEMENT_URL=management)
    assert 0 == report.exit
    report.one("broker", "warning", f"{unique}.wait.30s", "come back earlier")


def test_an_operator_policy_has_its_own_remedy(
    look: Look, management: str, set_policy: SetPolicy, unique: str
) -> None:
    """No policy of higher priority helps against an operator policy: its pattern must change."""
    set_policy(operator=True, expires=60_000)
    found = look(declare=True, AMQP_MANAGEMENT_URL=management).one("broker", "bad", f"queue {unique}.dead")
    assert f"change the pattern of the operator policy {unique}" in found.remedy


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://guest:wrong-password@{place}", "refused user and password"),
        ("http://guest:guest@{place}/elsewhere", "management API"),
        ("http://guest:guest@127.0.0.1:9", "takes a connection"),
    ],
)
def test_a_management_api_that_does_not_answer_is_a_warning(
    look: Look, management: str, url: str, word: str
) -> None:
    """A wrong password, path or port is named without the password, and the other checks go on."""
    place = management.rpartition("@")[2]
    report = look(declare=True, AMQP_MANAGEMENT_URL=url.format(place=place))
    assert 0 == report.exit
    found = report.one("broker", "warning", "policies", word)
    assert "wrong-password" not in f"{found}"
