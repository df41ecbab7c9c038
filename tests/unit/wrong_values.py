"""Wrong values of settings, and a part of the error for each: the data of ``test_wrong_settings``."""
# ruff: noqa: E501 - a table, in which a row is a line

from collections.abc import Sequence
from typing import NamedTuple

SECRET = "s3cr3t-pw"
LONG = "a" * 64


class Wrong(NamedTuple):
    """A variable, a value that it cannot have, and a part of what the error says."""

    name: str
    value: str
    says: str


def each(name: str, says: str, *values: str) -> list[Wrong]:
    """Return several values of one variable that are wrong in the same way."""
    return [Wrong(name, value, says) for value in values]


FILE_NAMES = (
    *("AMQP_CA_FILE", "AMQP_CERT_FILE", "AMQP_KEY_FILE", "VBS_CA_FILE", "RULES_FILE"),
    *("OS_CACERT", "OS_CERT", "OS_KEY", "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"),
)

OPENRC = (
    *("OS_AUTH_TYPE", "OS_USER_ID", "OS_USER_DOMAIN_ID", "OS_USER_DOMAIN_NAME", "OS_PROJECT_DOMAIN_ID"),
    *(
        "OS_PROJECT_DOMAIN_NAME",
        "OS_APPLICATION_CREDENTIAL_ID",
        "OS_APPLICATION_CREDENTIAL_NAME",
        "OS_DOMAIN_ID",
    ),
    *("OS_DOMAIN_NAME", "OS_DEFAULT_DOMAIN", "OS_DEFAULT_DOMAIN_ID", "OS_DEFAULT_DOMAIN_NAME", "OS_TRUST_ID"),
    *("OS_TENANT_NAME", "OS_REGION_NAME"),
)
"""Variables of an ``openrc`` file that are any text of one line."""

AMQP: Sequence[Wrong] = [
    *each("AMQP_URL", "must begin with amqp:// or amqps://", "https://[", "host:5672", "http://host/"),
    *each("AMQP_URL", "must begin with amqp:// or amqps://", "rabbit://host/", "amqp:/host", "amqp+ssl://host"),
    *each("AMQP_URL", "must begin with amqp:// or amqps://", "amqp", "pyamqp://guest@localhost//"),
    *each("AMQP_MANAGEMENT_URL", "must begin with https://", "host:15672", "amqp://u:p@host:15672"),
    *each("AMQP_MANAGEMENT_URL", "must be http://user:password@", "http://host:15672", "https://u@host/", "http://u:p@h?a=b"),
    *each("AMQP_URL", "names no broker", ",", " , ,"),
    *each("AMQP_URL", "names no host", "amqp://", "amqp:///vhost", f"amqp://u:{SECRET}@/vhost", "amqp://:5672/"),
    *each("AMQP_URL", "write %23 for #, %40 for @ and %2F for /", "amqp://u:pa#ss@h", f"amqp://u:{SECRET}#x@h/"),
    *each("AMQP_URL", "%23 for #", "amqp://host/#vhost", "amqp://user:p#w@host/"),
    *each("AMQP_URL", "write %2F for /, %3F for ?", f"amqp://u:{SECRET}/w@h/", f"amqp://u:{SECRET}?w@h/"),
    *each("AMQP_URL", "%5B for [", f"amqp://u:[{SECRET}@h/", f"amqp://u:{SECRET}]@h/"),
    *each("AMQP_URL", "a space or a control character", "amqp://ho st/", "amqp://ho\tst/", f"amqp://u:{SECRET} @h"),
    *each("AMQP_URL", "in brackets", "amqp://[", "amqp://[::1/", "amqp://::1/", "amqp://[::zz]/"),
    *each("AMQP_URL", "neither a name nor an address", "amqp://.../", f"amqp://{LONG}/"),
    *each("AMQP_URL", "neither a name nor an address", "amqp://bücher..example/"),
    *each("AMQP_URL", "several brokers are several whole URLs", "amqp://h1,h2/", f"amqp://u:{SECRET}@h1:1,h2:2"),
    *each("AMQP_URL", "no number from 1 to 65535", "amqp://host:99999/", "amqp://host:0/", "amqp://host:x/"),
    *each("AMQP_URL", "no number from 1 to 65535", "amqp://h:65536", "amqp://h:5672x", "amqp://h:٥٦٧٢/"),
    *each("AMQP_URL", "a user without a password", "amqp://user@host/", f"amqp://:{SECRET}@host/"),
    *each("AMQP_URL", "%2F for each of its /", "amqp://h/a/b", "amqp://h/vhost/", "amqp://h//vhost", "amqp://h///"),
    *each("AMQP_URL", "% escapes in the virtual host", "amqp://h/%ff"),
    *each("AMQP_URL", "% escapes in the password", f"amqp://u:{SECRET}%e4@h/"),
    *each("AMQP_URL", "% escapes in the password", f"amqp://u:{SECRET}%00@h/", f"amqp://u:{SECRET}%0A@h/"),
    *each("AMQP_URL", "longer than 255 bytes", f"amqp://h/{'v' * 256}"),
    *each("AMQP_URL", "unknown, which is none of an AMQP URL; known are", "amqp://host/?unknown=1"),
    *each("AMQP_URL", "did you mean heartbeat?", "amqp://host/?Heartbeat=30", "amqp://host/?heart_beat=30"),
    *each("AMQP_URL", "did you mean channel_max?", "amqp://host/?channelMax=30"),
    *each("AMQP_URL", "the parameter heartbeat twice", "amqp://host/?heartbeat=1&heartbeat=2"),
    *each(
        "AMQP_URL", "write heartbeat=30", "amqp://h?heartbeat=x", "amqp://h?heartbeat=-1", "amqp://h?heartbeat=",
        "amqp://h?heartbeat=99999999", "amqp://h?heartbeat=1e3", "amqp://h?heartbeat=٣",
    ),
    *each("AMQP_URL", "connection_timeout=10000", "amqp://h?connection_timeout=0", "amqp://h?connection_timeout=10s"),
    *each("AMQP_URL", "write channel_max=2047", "amqp://h?channel_max=0", "amqp://h?channel_max=65536"),
    *each("AMQP_URL", "write frame_max=131072", "amqp://h?frame_max=1", "amqp://h?frame_max=0"),
    *each("AMQP_URL", "verify=verify_peer: the certificate is always checked", "amqps://h?verify=verify_none"),
    *each("AMQP_URL", "is for amqps:// only", "amqp://h?verify=verify_peer"),
    *each("AMQP_URL", "signs in with user and password only", "amqps://h?auth_mechanism=external"),
    *each("AMQP_URL", "server_name_indication=broker", "amqps://h?server_name_indication=a%20b"),
    *each(
        "AMQP_URL", "AMQP_CA_FILE, AMQP_CERT_FILE and AMQP_KEY_FILE", "amqps://h?cacertfile=/ca.pem",
        "amqps://h?certfile=/c.pem", "amqps://h?keyfile=/k.pem", "amqps://h?ssl_options={'ca_certs':'/x'}",
    ),
    *each("AMQP_URL", "a key without a passphrase", f"amqps://h?password={SECRET}"),
    *each("AMQP_URL", "it is a server's", "amqps://h?fail_if_no_peer_cert=true"),
    *each("AMQP_URL", "not limited", "amqps://h?depth=2"),
    *each("AMQP_URL", "the program sends its own", "amqp://host/?client_properties=x"),
    *each("AMQP_URL", "pika has it no more", "amqp://host/?backpressure_detection=t"),
    *each("AMQP_URL", "socket_timeout=10", "amqp://h?socket_timeout=-1", "amqp://h?socket_timeout=nan"),
    *each("AMQP_URL", "stack_timeout=15", "amqp://h?stack_timeout=0"),
    *each("AMQP_URL", "blocked_connection_timeout=300", "amqp://h?blocked_connection_timeout=x"),
    *each("AMQP_URL", "retry_delay=2", "amqp://h?retry_delay=-5", "amqp://h?retry_delay=Infinity"),
    *each("AMQP_URL", "connection_attempts=1", "amqp://h?connection_attempts=x"),
    *each("AMQP_URL", "locale=en_US", "amqp://host/?locale=%00"),
    *each(
        "AMQP_URL", "tcp_options={'TCP_KEEPIDLE':60}", "amqp://h?tcp_options=x", "amqp://h?tcp_options={'A':1}",
        "amqp://h?tcp_options={'TCP_KEEPIDLE':'60'}",
    ),
]  # fmt: skip

MISTYPED: Sequence[Wrong] = [
    *each("AMQP_URL", "a placeholder", "amqp://${HOST}/", "amqp://ho$t/", "amqp://{{ user }}:p@h", "amqp://u:p@<host>/"),
    *each("VBS_ENDPOINT", "a placeholder", "https://$HOST", "https://vbs.{region}.x.com", "https://h/v2/%(tenant_id)s"),
    *each("OS_AUTH_URL", "a placeholder", "https://iam.<region>.x.com/v3", "https://iam.%REGION%.x.com"),
    *each("AMQP_URL", "begins with its own name", f"AMQP_URL=amqp://u:{SECRET}@h/", "export AMQP_URL=amqp://h/"),
    *each("OS_PASSWORD", "begins with its own name", f"OS_PASSWORD={SECRET}"),
    *each("LOG_LEVEL", "begins with its own name", "log_level = INFO"),
    *each("VBS_TIMEOUT", "typographic quotes", "“30”"),
    *each("OS_USERNAME", "typographic quotes", "\u2018backup\u2019", "\u201ebackup\u201c", "«backup»"),
    *each("LOG_LEVEL", "a comment after its value", "INFO # or DEBUG"),
    *each("AMQP_URL", "a comment after its value", f"amqp://u:{SECRET}@h/ # broker"),
    *each("TRACK_BACKUPS", "a quote at one end only", '"true', "true'"),
    *each("AMQP_URL", "a quote at one end only", f"'amqp://u:{SECRET}@h/"),
    *each("VBS_ALLOWED_PROJECTS", "is written as JSON", '["p1"]'),
    *each("SKIP_SNAPSHOTS", "is written as JSON", '["a-*", "b-*"]'),
    *each("OS_CLOUD", "is written as JSON", "['one', 'two']"),
    *each("STATE_KEYS", "is written as JSON", f'["{SECRET}-and-more-of-it"]'),
    *each("SNAPSHOT_BINDINGS", "without a comma between them", "openstack:a;cinder:b", "openstack:a cinder:b"),
    *each("SNAPSHOT_QUEUE", "begins with amq.", "amq.backup", "amq.topic"),
    *each("SNAPSHOT_EXCHANGE", "begins with amq.", "amq.direct"),
    *each("RESULT_EXCHANGE", "begins with amq.", "amq.backups"),
    *each("AMQP_MANAGEMENT_URL", "write %23 for #, %40 for @, %2F for /", f"http://u:{SECRET}#w@h", f"http://u:{SECRET}/w@h"),
    *each("AMQP_KEY_FILE", "is the certificate or key itself", f"-----BEGIN PRIVATE KEY-----\\n{SECRET}"),
    *each("OS_KEY", "is the certificate or key itself", f"-----BEGIN PRIVATE KEY-----\n{SECRET}"),
    *each("AMQP_KEY_FILE", "longer than a path can be", SECRET * 120),
    *each("VBS_CA_FILE", "is a URL", "file:///etc/ssl/ca.pem"),
]  # fmt: skip
"""What is typed around a value, or instead of it."""

URLS: Sequence[Wrong] = [
    *each("VBS_ENDPOINT", "must begin with https://", "host", "ftp://host", "vbs.example.com:443", "https:/host"),
    *each("VBS_ENDPOINT", "names no host", "http://", "https://:443"),
    *each("VBS_ENDPOINT", "no number from 1 to 65535", "http://host:99999", "http://host:0", "http://host:x"),
    *each("VBS_ENDPOINT", "settings of their own", f"http://user:{SECRET}@host"),
    *each("VBS_ENDPOINT", "made from VBS_API_VERSION", "https://host/v2", "https://host/volume/v3.0/p"),
    *each("VBS_ENDPOINT", "without parameters", "http://host?x=1", "http://host/a%2Fb", "http://host/../x"),
    *each("EVS_ENDPOINT", "must begin with https://", "host", "ftp://host"),
    *each("EVS_ENDPOINT", "made from VBS_API_VERSION", "https://host/v3"),
    *each("OS_REGION_NAME", "one line", "a\nb"),
    *each("OS_INTERFACE", "public, internal or admin", "private", "https://host"),
    *each("VBS_ENDPOINT", "has a #", "http://host#x"),
    *each("VBS_ENDPOINT", "a space or a control character", "https://ho st", "http://exa\tmple"),
    *each("VBS_ENDPOINT", "in brackets", "https://[", "http://[::1", "http://..", f"http://{LONG}"),
    *each("OS_AUTH_URL", "must begin with https://", "host", "ftp://host", "iam.example.com/v3"),
    *each("OS_AUTH_URL", "names no host", "https://", "https:///v3"),
    *each("OS_AUTH_URL", "no number from 1 to 65535", "http://h:99999", "https://h:x/v3", "https://h:0"),
    *each("OS_AUTH_URL", "parameters after a ?", "https://host/v3?x=1"),
    *each("OS_AUTH_URL", "settings of their own", f"https://user:{SECRET}@host/v3"),
    *each("OS_AUTH_URL", "a space or a control character", "https://ho st/v3"),
    *each("OS_AUTH_URL", "in brackets", "https://["),
    *each(
        "LEDGER_URL", "must be sqlite:///FILE, postgresql://user:password@host:5432/database, or none",
        "mysql://host/db", "nonesense", "none/", "jdbc:postgresql://h/db", "/var/lib/ledger.db", "file:ledger.db",
        f"host=h dbname=db password={SECRET}", "sqlite3:///x.db",
    ),
    *each(
        "LEDGER_URL", "three slashes before the file", "sqlite", "sqlite:", "sqlite://", "sqlite:///",
        "sqlite://host/x", "sqlite:ledger.db", "sqlite:/var/lib/ledger.db", "sqlite://ledger.db",
    ),
    *each("LEDGER_URL", "names a folder", "sqlite:////tmp", "sqlite:///new/"),
    *each("LEDGER_URL", "no parameters after a ?", "sqlite:///x?mode=ro", "sqlite:///a\nb.db"),
    *each("LEDGER_URL", "lost when the process ends", "sqlite:///:memory:", "sqlite:///file::memory:"),
    *each("LEDGER_URL", "no home folder", "sqlite:///~nobody-of-this-name/ledger.db"),
    *each("LEDGER_URL", "two slashes after postgresql:", "postgres", "postgresql:x", "postgresql:/h/db"),
    *each("LEDGER_URL", "write %23 for #", f"postgresql://u:{SECRET}#w@h/db", f"postgresql://u:{SECRET}%w@h/db"),
    *each("LEDGER_URL", "% escapes that are no UTF-8", f"postgresql://u:{SECRET}%ff@h/db", "postgresql://h/a%00"),
    *each("LEDGER_URL", "%40 for @", f"postgresql://u:{SECRET}@w@h/db", f"postgresql://u:{SECRET}/w@h:x/db"),
    *each("LEDGER_URL", "in brackets", "postgresql://["),
    *each("LEDGER_URL", "a host or a port that cannot be", "postgresql://h:x/db", "postgresql://h:99999/db"),
    *each("LEDGER_URL", "a host or a port that cannot be", "postgresql://h:0/db", "postgresql://h1:5432,h2:x/db"),
    *each("LEDGER_URL", "a space or a control character", "postgresql://ho st/db"),
    *each("LEDGER_URL", "write sslmode=require", "postgresql://h/db?sslmode=on"),
    *each("LEDGER_URL", "write connect_timeout=5", "postgresql://h/db?connect_timeout=5s"),
    *each(
        "HTTP_ADDRESS", "must be host:port, or :port for every interface", "8080", "x", ":99999", "host:", "[::1",
        "[::1]", "1.2.3.4:x", "http://host:1", "...:80", "ho st:80", "::1:80", "*:8080", "localhost:8080/",
        ":٨٠",
    ),
    *each("CONSOLE_ADDRESS", "must be host:port, or :port for every interface", "8090", "localhost", "http://h:1"),
]  # fmt: skip

NUMBERS: Sequence[Wrong] = [
    *each(
        "CONCURRENCY", "must be a whole number from 1 to 2000, in digits", "0", "-1", "2001", "1e3", "1_000", "32.0",
        "many", "٣", "0x10", "Infinity", "3 2", "true",
    ),
    *each("MAX_RUNNING", "must be a whole number from 1 to 10000", "0", "-1", "1e3", "20.0", "unlimited", "10001"),
    *each("MAX_ATTEMPTS", "must be a whole number from 1 to", "0", "8.5", "unlimited"),
    *each("MAX_BODY_BYTES", "must be a whole number from 1024 to", "1MB", "1023", "1k"),
    *each(
        "VBS_TIMEOUT", "must be seconds, from 0.001 to 600, in digits and without a letter for the unit", "30s", "0",
        "601", "nan", "inf", "1e2", "1_0", "PT30S", "٣٠", "1,5",
    ),
    *each("MAX_AGE", "must be seconds", "1d", "24h", "Infinity", "-1", "0"),
    *each("TRACK_DEADLINE", "must be seconds", "1 day", "0"),
    *each("LEASE_SECONDS", "must be seconds, from 0.5 to 3600", "0", "1h"),
    *each("DRAIN_SECONDS", "must be seconds, from 0 to", "-1", "25s"),
    *each("LEDGER_RETENTION", "must be days", "90d", "0", "forever"),
    *each("LEDGER_RETENTION", "fewer than MAX_AGE + TRACK_DEADLINE", "1"),
    *each(
        "WAIT_LADDER", "must be growing whole seconds from 1 to 4294967, in digits with commas", "5s,30s", "30,5",
        "0,5", "5,99999999", "nonsense", "5;30", "5 30", "5,5", "1e3", "5.5,30", "[5,30]", ",",
    ),
]  # fmt: skip

WORDS: Sequence[Wrong] = [
    *each("TRACK_BACKUPS", "must be true or false", "maybe", "2", "enabled", "tru"),
    *each("QUEUE_TYPE", "must be quorum or classic", "stream", "quorom", SECRET),
    *each("RESULT_UNROUTABLE", "must be wait or ignore", "drop"),
    *each("VBS_API_VERSION", "must be v2 or v3", "2", "v1", "3.0"),
    *each("VBS_AUTH", "must be auto, none, token, cloud, password, application_credential, aksk or agency", "keystone", "v3password"),
    *each("VBS_ALLOW_PLAINTEXT", "must be true or false", "internal"),
    *each("OS_SYSTEM_SCOPE", "must be all", "true", "project"),
    *each("OS_INTERFACE", "must be public, internal or admin", "publicurl", "private"),
    *each("OS_ENDPOINT_TYPE", "must be public, internal or admin", "URL"),
    *each("OS_INSECURE", "trust the server's authority instead, with OS_CACERT", "true", "1", "yes"),
    *each("OS_INSECURE", "must be true or false", "maybe"),
    *each("OS_IDENTITY_API_VERSION", "must be 3: Keystone no longer has version 2", "2", "2.0", "v2.0", "4"),
    *each("OS_CLOUD", "names nothing between its commas", ",", " , "),
    *each("OS_CLOUD", "one line of UTF-8", "pro\tduction"),
    *each("LOG_LEVEL", "must be DEBUG, INFO, WARNING or ERROR", "loud", "10"),
    *each("LOG_FORMAT", "must be json or text", "logfmt"),
    *each("SNAPSHOT_QUEUE", "must be 1 to 100 letters, digits", "my queue", "q/1", "ä", "q" * 101),
    *each("SNAPSHOT_EXCHANGE", "must be 1 to 127 letters, digits", "a b", "x" * 128),
    *each("RESULT_EXCHANGE", "must be 1 to 127 letters, digits", "backups!"),
    *each("SNAPSHOT_BINDINGS", "each must be exchange:routing.key", "openstack", ":key", "exchange:", "a:b,c"),
    *each("SNAPSHOT_BINDINGS", "longer than 255 bytes", f"e:{'k' * 256}"),
    *each("SNAPSHOT_BINDINGS", "names nothing between its commas", ",", " , "),
    *each("VBS_PROJECT_ID", "must be a project's id", "my project", "a/b", "p" * 65, "ä"),
    *each("OS_PROJECT_ID", "must be a project's id", "a b"),
    *each("OS_TENANT_ID", "must be a project's id", "a/b"),
    *each("VBS_ALLOWED_PROJECTS", "must be a project's id", "a b", "p1;p2", "*"),
    *each("VBS_ALLOWED_PROJECTS", "names nothing between its commas", ",", ",,"),
    *each("SKIP_SNAPSHOTS", "names nothing between its commas", ","),
]  # fmt: skip

SECRETS: Sequence[Wrong] = [
    *each("OS_TOKEN", "one line of ASCII without spaces", f"{SECRET}\nb", f"{SECRET} x", f"tökén{SECRET}"),
    *each("HUAWEICLOUD_SDK_AK", "one line of ASCII without spaces", f"{SECRET}\nb"),
    *each("HUAWEICLOUD_SDK_SECURITY_TOKEN", "one line of ASCII without spaces", f"{SECRET}\r\nb"),
    *each("OS_PASSWORD", "one line of UTF-8 without control characters", f"{SECRET}\nuser", f"{SECRET}\udce4"),
    *each("OS_USERNAME", "one line of UTF-8", "backup\nuser", "b\udce4ckup"),
    *(wrong for name in OPENRC for wrong in each(name, "one line of UTF-8 without control characters", "a\tb", "a\nb")),
    *each("OS_APPLICATION_CREDENTIAL_SECRET", "one line of UTF-8 without control characters", f"{SECRET}\n{SECRET}"),
    *each("OS_PROJECT_NAME", "one line of UTF-8", "a\nb"),
    *each("HUAWEICLOUD_SDK_SK", "one line of UTF-8 without control characters", f"{SECRET}\t{SECRET}"),
    *each("STATE_KEYS", "at least 16 characters (openssl rand -hex 32", SECRET, f"a-key-of-many-letters,{SECRET}"),
    *each("CONSOLE_TOKEN", "at least 16 characters (openssl rand -hex 32", SECRET),
    *each("CONSOLE_TOKEN", "one line of ASCII without spaces", f"{SECRET} of several words", f"tökén-{SECRET}-long"),
    *each("CONSOLE_READ_TOKEN", "at least 16 characters (openssl rand -hex 32", SECRET),
    *each("STATE_KEYS", "names nothing between its commas", ",,"),
]  # fmt: skip

FILES: Sequence[Wrong] = [
    *(
        Wrong(name, value, says)
        for name in FILE_NAMES
        for value, says in [
            ("/tmp", "/tmp is a folder; name a file in it"),
            ("/nonexistent/file", "/nonexistent/file does not exist"),
            ("~nobody-of-this-name/x", "no home folder"),
            ("/etc/one.pem\n/etc/two.pem", "a line end or another control character"),
            (f"/{'x' * 300}", "cannot be read (File name too long)"),
        ]
    ),
    *each("SECRETS_DIR", "is not a folder that can be read", "/nonexistent", "/dev/null"),
]

WRONG: Sequence[Wrong] = [*AMQP, *MISTYPED, *URLS, *NUMBERS, *WORDS, *SECRETS, *FILES]
