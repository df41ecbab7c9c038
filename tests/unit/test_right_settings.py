"""Values of settings in all the forms in which people write them, and what the program reads."""

from pathlib import Path
from typing import Any

import pytest

from handler.amqp_url import AmqpUrl, parse_amqp_url
from handler.settings import Settings, load_settings

BOM, NBSP = "\N{ZERO WIDTH NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
PROJECTS = ("8d2c4b6a1f3e4d5c9b7a60f1e2d3c4b5", "Team-A")

CLEANED = {
    "as it is": "s3cret",
    "a newline at its end": "s3cret\n",
    "a Windows line end": "s3cret\r\n",
    "tabs and spaces": "\t s3cret \t",
    "double quotes": '"s3cret"',
    "single quotes": "'s3cret'",
    "quotes and a Windows line end": '"s3cret"\r\n',
    "a byte order mark": f"{BOM}s3cret",
    "a no-break space": f"s3cret{NBSP}",
    "all of these": f'{BOM}{NBSP} "s3cret"\r\n\n',
}

VALUES: list[tuple[str, str, Any]] = [
    # numbers
    ("CONCURRENCY", " 7 ", 7),
    ("CONCURRENCY", "+7", 7),
    ("CONCURRENCY", "007", 7),
    ("VBS_TIMEOUT", "2.5", 2.5),
    ("VBS_TIMEOUT", '"30"', 30.0),
    ("MAX_AGE", "3155760", 3155760.0),
    # booleans
    *(("TRACK_BACKUPS", text, True) for text in ("true", "TRUE", "yes", "on", "1", "t", "Y", " true\r\n")),
    *(("TRACK_BACKUPS", text, False) for text in ("False", "no", "NO", "off", "0", "f", "n", "'false'")),
    # words
    ("LOG_LEVEL", "debug", "DEBUG"),
    ("LOG_LEVEL", "Warn", "WARNING"),
    ("QUEUE_TYPE", "Classic", "classic"),
    ("VBS_API_VERSION", "V3", "v3"),
    ("LOG_FORMAT", "JSON\n", "json"),
    # lists
    ("WAIT_LADDER", "5, 30,120,", (5, 30, 120)),
    ("WAIT_LADDER", "5,\n30", (5, 30)),
    ("WAIT_LADDER", "'60'", (60,)),
    ("VBS_ALLOWED_PROJECTS", f" {PROJECTS[0]} ,, {PROJECTS[1]}, ", PROJECTS),
    ("VBS_ALLOWED_PROJECTS", "\n".join(PROJECTS), PROJECTS),
    ("SNAPSHOT_BINDINGS", "openstack : notifications.info ,", (("openstack", "notifications.info"),)),
    ("SNAPSHOT_BINDINGS", "a:b:c", (("a", "b:c"),)),
    # set but empty: not set
    *(("WAIT_LADDER", text, (5, 30, 120, 600, 3600)) for text in ("", " ", "\t\r\n", '""', "''", BOM, NBSP)),
    ("VBS_ALLOWED_PROJECTS", "", ()),
    ("OS_PASSWORD", '""', None),
    ("HTTP_ADDRESS", " ", None),
    # the API
    ("VBS_ENDPOINT", "HTTPS://VBS.Region.Example.COM:8776/", "https://vbs.region.example.com:8776"),
    ("VBS_ENDPOINT", "https://vbs.example.com:", "https://vbs.example.com"),
    ("VBS_ENDPOINT", "https://API.example.com:8776/volume/", "https://api.example.com:8776/volume"),
    ("VBS_ENDPOINT", "https://cloud.example.com/block-storage/api", "https://cloud.example.com/block-storage/api"),
    ("EVS_ENDPOINT", "https://evs.region.example.com/", "https://evs.region.example.com"),
    ("OS_INTERFACE", "internalURL", "internal"),
    ("OS_REGION_NAME", "eu-west-0", "eu-west-0"),
    ("VBS_ENDPOINT", "http://[::1]:8776", "http://[::1]:8776"),
    ("VBS_ENDPOINT", "http://[FD00:0::5]", "http://[fd00::5]"),
    ("VBS_ENDPOINT", "https://bücher.example", "https://xn--bcher-kva.example"),
    ("VBS_ENDPOINT", "http://my_service:8776", "http://my_service:8776"),
    ("OS_AUTH_URL", "HTTPS://IAM.example.com/v3/", "https://iam.example.com/v3/"),
    # the pages
    ("HTTP_ADDRESS", ":8080", ":8080"),
    ("HTTP_ADDRESS", "[::]:8080", "[::]:8080"),
    ("HTTP_ADDRESS", "localhost:0", "localhost:0"),
]  # fmt: skip

LEDGERS = [
    ("NONE", "none"),
    ("sqlite:///relative.db", "sqlite:///relative.db"),
    ("SQLite:////var/lib/a b/ledger.db", "sqlite:////var/lib/a b/ledger.db"),
    ("sqlite+pysqlite:///x.db", "sqlite:///x.db"),
    ("sqlite:///~/ledger.db", f"sqlite:///{Path.home()}/ledger.db"),
    ("postgres://u:p@h/db", "postgresql://u:p@h/db"),
    ("postgresql+psycopg://u:p@h/db", "postgresql://u:p@h/db"),
    ("PostgreSQL://u:p@h/db", "postgresql://u:p@h/db"),
    ("postgresql:///db?host=/var/run/postgresql", "postgresql:///db?host=/var/run/postgresql"),
    ("postgresql://%2Fvar%2Frun%2Fpostgresql/db", "postgresql://%2Fvar%2Frun%2Fpostgresql/db"),
    ("postgresql://u:p%40%25w@h1:5432,h2,[::1]:5434/db?sslmode=verify-full&user=a@b", None),
    ("postgresql://", "postgresql://"),
]

GUEST = AmqpUrl(tls=False, host="host", port=5672)
ADDRESSES: list[tuple[str, dict[str, Any]]] = [
    ("amqp://host", {}),
    ("AMQP://HOST:5672/", {"host": "host"}),
    ("amqp://host:/", {}),
    ("amqps://host", {"tls": True, "port": 5671}),
    ("amqps://host:443/", {"tls": True, "port": 443}),
    ("amqp://[::1]:5673/", {"host": "::1", "port": 5673}),
    ("amqp://[fe80::1%25eth0]/", {"host": "fe80::1%eth0"}),
    ("amqp://bücher.example", {"host": "xn--bcher-kva.example"}),
    ("amqp://rabbit_1/", {"host": "rabbit_1"}),
    ("amqp://h/%2F", {"host": "h"}),
    ("amqp://h/%2f", {"host": "h"}),
    ("amqp://h//", {"host": "h"}),
    ("amqp://h/%2Fvhost", {"host": "h", "vhost": "/vhost"}),
    ("amqp://h/a%2fb", {"host": "h", "vhost": "a/b"}),
    ("amqp://h/my%20host", {"host": "h", "vhost": "my host"}),
    ("amqp://h/a+b", {"host": "h", "vhost": "a+b"}),
    ("amqp://u:p%40%2F%23%25%3Aw@h", {"host": "h", "user": "u", "password": "p@/#%:w"}),
    ("amqp://u:a+b%20c@h", {"host": "h", "user": "u", "password": "a+b c"}),
    ("amqp://u:a:b@h", {"host": "h", "user": "u", "password": "a:b"}),
    ("amqp://u:a@b@h", {"host": "h", "user": "u", "password": "a@b"}),
    ("amqp://u:a,b@h", {"host": "h", "user": "u", "password": "a,b"}),
    ("amqp://u:100%@h", {"host": "h", "user": "u", "password": "100%"}),
    ("amqp://u%40x:@h", {"host": "h", "user": "u@x", "password": ""}),
    ("amqp://u:p%C3%A4@h", {"host": "h", "user": "u", "password": "pä"}),
    (
        "amqp://host?heartbeat=5&connection_timeout=10000",
        {"options": {"heartbeat": 5, "socket_timeout": 10.0}},
    ),
    ("amqp://host?heartbeat=0&channel_max=10", {"options": {"heartbeat": 0, "channel_max": 10}}),
    ("amqp://host?frame_max=8192&locale=de_DE", {"options": {"frame_max": 8192, "locale": "de_DE"}}),
    ("amqp://host?auth_mechanism=PLAIN", {}),
    ("amqp://host?socket_timeout=2.5", {"options": {"socket_timeout": 2.5}}),
    ("amqp://host?tcp_options={'TCP_KEEPIDLE':60}", {"options": {"tcp_options": {"TCP_KEEPIDLE": 60}}}),
    (
        "amqps://host?verify=verify_peer&server_name_indication=Broker.example.com",
        {"tls": True, "port": 5671, "server_name": "broker.example.com"},
    ),
]

TWO = ("amqp://u:p@h1/v", "amqps://h2")
SEVERAL = [
    "amqp://u:p@h1/v,amqps://h2",
    " amqp://u:p@h1/v , amqps://h2 , ",
    "amqp://u:p@h1/v amqps://h2",
    "amqp://u:p@h1/v\namqps://h2\n",
    "amqp://u:p@h1/v,\r\n\tamqps://h2,",
    '"amqp://u:p@h1/v,amqps://h2"',
]


@pytest.mark.parametrize("text", CLEANED.values(), ids=CLEANED)
@pytest.mark.parametrize("source", ["environment", ".env", "SECRETS_DIR"])
def test_what_editors_and_tools_leave_around_a_secret_is_removed(
    text: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every source reads the same secret, whatever was left around it."""
    monkeypatch.chdir(tmp_path)
    if source == "environment":
        monkeypatch.setenv("OS_PASSWORD", text)
    elif source == ".env":
        (tmp_path / ".env").write_text(f"OS_PASSWORD={text.strip()}\n", encoding="utf-8")
    else:
        monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
        (tmp_path / "OS_PASSWORD").write_text(text, encoding="utf-8")

    found = load_settings().os_password

    assert found is not None
    assert "s3cret" == found.get_secret_value()


@pytest.mark.parametrize(
    ("text", "meant"),
    [('""s3cret""', '"s3cret"'), ('" s3cret "', " s3cret "), ("s3'cr\"et", "s3'cr\"et"), ('"', '"')],
)
def test_quotes_keep_a_secret_as_it_is(text: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair of quotes around a value is removed, so that spaces and quotes within it can be its own."""
    monkeypatch.setenv("OS_PASSWORD", text)

    found = load_settings().os_password

    assert found is not None
    assert meant == found.get_secret_value()


@pytest.mark.parametrize(("name", "text", "wanted"), VALUES)
def test_a_value_is_read_as_it_was_meant(
    name: str, text: str, wanted: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spaces, case, spellings and trailing commas do not change what a setting is."""
    monkeypatch.setenv(name, text)

    found = getattr(load_settings(), name.lower())

    assert wanted == (found.get_secret_value() if hasattr(found, "get_secret_value") else found)


@pytest.mark.parametrize(("text", "wanted"), LEDGERS)
def test_a_ledger_is_read_in_the_forms_of_other_programs(
    text: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger's URL is normalised to the two forms that the ledgers read."""
    monkeypatch.setenv("LEDGER_URL", text)

    assert (wanted or text) == load_settings().ledger_url.get_secret_value()


@pytest.mark.parametrize(("text", "changed"), ADDRESSES)
def test_each_part_of_a_brokers_address_is_read(text: str, changed: dict[str, Any]) -> None:
    """Host, port, login, virtual host and parameters are what RabbitMQ's documents say."""
    wanted = {name: getattr(GUEST, name) for name in GUEST.__slots__} | changed

    assert AmqpUrl(**wanted) == parse_amqp_url(text)


@pytest.mark.parametrize("text", SEVERAL)
def test_several_addresses_stand_with_commas_spaces_or_on_lines(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses of a cluster are separated by commas, spaces or line ends."""
    monkeypatch.setenv("AMQP_URL", text)

    assert TWO == tuple(url.get_secret_value() for url in load_settings().amqp_url)


def test_an_empty_variable_leaves_the_next_source_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is set but empty is not set, in every source."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("SNAPSHOT_QUEUE", ' "" ')
    (tmp_path / ".env").write_text("SNAPSHOT_QUEUE=\n")
    (tmp_path / "SNAPSHOT_QUEUE").write_text("from-a-file\n")

    assert "from-a-file" == load_settings().snapshot_queue


def test_a_program_gives_a_text_like_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the function's user data give is cleaned too, and what is empty there is not set."""
    monkeypatch.setenv("SNAPSHOT_QUEUE", "mine")

    settings = load_settings(snapshot_queue=" ", os_token=' "t0ken"\r\n')

    assert settings.os_token is not None
    assert ("mine", "t0ken") == (settings.snapshot_queue, settings.os_token.get_secret_value())


def test_a_home_folder_is_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tilde at the beginning of a file's path is the home of the program's user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").write_text("x")
    monkeypatch.setenv("VBS_CA_FILE", "~/ca.pem")

    assert tmp_path / "ca.pem" == load_settings().vbs_ca_file


def test_the_defaults_are_what_their_own_checks_allow() -> None:
    """Each default passes the check of its setting, and stays what it is."""
    defaults = Settings().model_dump()

    assert defaults == Settings(**defaults).model_dump()
