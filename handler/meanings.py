"""What each setting means: the tables of handler/README.md, and of ``snapshot-backup settings``.

Names and defaults are the model's. A meaning is Markdown of one line.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr

from handler.settings import Settings

GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Broker": {
        "AMQP_URL": "address of RabbitMQ; `amqps://` for TLS; several with commas for a cluster",
        "AMQP_MANAGEMENT_URL": (
            "RabbitMQ's management API, such as `http://user:password@broker.example.com:15672`; only "
            "`doctor` asks it, for [policies](#policies-of-the-broker). The user needs the tag `monitoring`"
        ),
        "AMQP_CA_FILE": "certificate authority that the broker's certificate must be signed by",
        "AMQP_CERT_FILE": "client certificate; both it and its key, or neither",
        "AMQP_KEY_FILE": "the client certificate's key, without a passphrase",
        "SNAPSHOT_EXCHANGE": "exchange to which producers publish events",
        "SNAPSHOT_QUEUE": "the queue; the names of the other queues begin with it",
        "SNAPSHOT_BINDINGS": (
            "foreign exchanges to take events from, as `exchange:routing.key`, with commas"
        ),
        "RESULT_EXCHANGE": "exchange to which outcomes are published",
        "RESULT_UNROUTABLE": (
            "an outcome that no queue receives [waits until one does](#outcomes-without-a-queue); "
            "`ignore`: it is counted and dropped"
        ),
        "QUEUE_TYPE": (
            "`classic` for brokers without quorum queues; a killed broker may then lose messages that wait"
        ),
    },
    "API": {
        "VBS_ENDPOINT": (
            "where backups are: scheme and host, perhaps port and path, such as "
            "`https://api.example.com:8776/volume`, without version and project; see [Endpoints](#endpoints)"
        ),
        "EVS_ENDPOINT": "where snapshots are, if not beside the backups: on Huawei Cloud and OTC",
        "VBS_API_VERSION": "`v2` or `v3`",
        "VBS_PROJECT_ID": (
            "our own project: that of the events that name none, and by which the account is judged"
        ),
        "VBS_ALLOWED_PROJECTS": (
            "projects whose snapshots are backed up, with commas. An id of 32 hex digits is one "
            "project in capitals and with dashes too"
        ),
        "VBS_TIMEOUT": "seconds for one call",
        "VBS_CA_FILE": "certificate authority of the API and of the sign-in",
        "MAX_RUNNING": (
            "backups in progress at once, for each cloud; what comes beyond it "
            "[waits for room](#limit-the-backups-in-progress). Unset: any number"
        ),
    },
    "Sign-in": {
        "VBS_AUTH": (
            "`none`, `token`, `cloud`, `password`, `application_credential`, `aksk` or `agency`; `auto`: "
            "`cloud` where `OS_CLOUD` is set, else what `OS_AUTH_TYPE` names, else the first way whose "
            "variables are set"
        ),
        "VBS_ALLOW_PLAINTEXT": (
            "`true` sends passwords and tokens over `http://` too, for a private network whose servers have "
            "no certificate: [any host that sees its traffic can read them](#plain-http)"
        ),
        "OS_CLOUD": (
            "for `cloud`: the name of a cloud in [clouds.yaml](#cloudsyaml); with commas "
            "[several clouds](#several-clouds)"
        ),
        "OS_CLIENT_CONFIG_FILE": "the file that is read instead of the first `clouds.yaml` found",
        "OS_CLIENT_SECURE_FILE": "the file that is read instead of the first `secure.yaml` found",
        "OS_AUTH_TYPE": (
            "the way of an `openrc` file: `password`, `v3password`, `v3applicationcredential`, `token`, "
            "`v3token` or `none`"
        ),
        "OS_AUTH_URL": "the identity service, such as `https://iam.region.example.com/v3`",
        "OS_TOKEN": "for `token`",
        "OS_USERNAME": "for `password`: the user; this or `OS_USER_ID`",
        "OS_USER_ID": "for `password`: the user's id, which needs no domain",
        "OS_PASSWORD": "for `password`: its password",
        "OS_USER_DOMAIN_ID": "the user's domain, by its id",
        "OS_USER_DOMAIN_NAME": "the user's domain, by its name",
        "OS_PROJECT_ID": "for `password`: the project to sign in to; this or `OS_PROJECT_NAME`",
        "OS_PROJECT_NAME": "for `password`: the project to sign in to; this or `OS_PROJECT_ID`",
        "OS_PROJECT_DOMAIN_ID": "the domain of `OS_PROJECT_NAME`, by its id",
        "OS_PROJECT_DOMAIN_NAME": "the domain of `OS_PROJECT_NAME`, by its name",
        "OS_APPLICATION_CREDENTIAL_ID": (
            "for `application_credential`: its id. The credential is for one project, and needs no "
            "`OS_PROJECT_…`"
        ),
        "OS_APPLICATION_CREDENTIAL_NAME": (
            "for `application_credential` without an id: its name, with the user's id, or name and domain"
        ),
        "OS_APPLICATION_CREDENTIAL_SECRET": "for `application_credential`: its secret",
        "OS_DOMAIN_ID": "with a project, the domain of user and project; without one, the token is for it",
        "OS_DOMAIN_NAME": "the same by name",
        "OS_DEFAULT_DOMAIN": "the id of the domain of user and project where neither is set",
        "OS_DEFAULT_DOMAIN_ID": "the same, as keystoneauth calls it",
        "OS_DEFAULT_DOMAIN_NAME": "the same by name",
        "OS_SYSTEM_SCOPE": "`all`: sign in to the system instead of a project",
        "OS_TRUST_ID": "sign in by a trust instead of to a project; it is for one project",
        "OS_TENANT_ID": "older name of `OS_PROJECT_ID`",
        "OS_TENANT_NAME": "older name of `OS_PROJECT_NAME`",
        "OS_REGION_NAME": "the region whose endpoints are used",
        "OS_INTERFACE": "the endpoints that are used: `public`, `internal` or `admin`",
        "OS_ENDPOINT_TYPE": "older name of `OS_INTERFACE`, such as `internalURL`",
        "OS_CACERT": "certificate authority of the cloud, besides `VBS_CA_FILE` and the system's own",
        "OS_CERT": "client certificate for the cloud; without `OS_KEY` it has the key too",
        "OS_KEY": "the client certificate's key, without a passphrase",
        "OS_INSECURE": "`true` is refused: set `OS_CACERT`",
        "OS_IDENTITY_API_VERSION": "`3`",
        "HUAWEICLOUD_SDK_AK": "for `aksk`: the access key",
        "HUAWEICLOUD_SDK_SK": "for `aksk`: the access key's secret",
        "HUAWEICLOUD_SDK_SECURITY_TOKEN": "for `aksk` with a temporary key",
    },
    "Ledger": {
        "LEDGER_URL": (
            "`postgresql://…` (or `postgres://…`, `postgresql+psycopg://…`) where several machines share the "
            "queue: see [PostgreSQL](#postgresql); `none`, the default of a function: the program asks the "
            "API before each create"
        ),
        "LEDGER_RETENTION": (
            "days that the ledger keeps a backup after its end; at least `MAX_AGE` + "
            "`TRACK_DEADLINE` + the longest delay of `WAIT_LADDER`"
        ),
    },
    "State of waiting messages": {
        "STATE_KEYS": (
            "keys that authenticate waiting messages, with commas, the newest first; each of at "
            "least 16 characters, such as the output of `openssl rand -hex 32`. All workers and "
            "functions of the queue, and `dead-letters replay`, need the same. Unset: a key that the "
            "ledger keeps; with `LEDGER_URL=none` waiting messages are not authenticated, and the "
            "start warns"
        ),
    },
    "Behaviour": {
        "CONCURRENCY": "messages in hand at once; with several clouds, of each of them",
        "WAIT_LADDER": "delays of the wait queues in seconds, growing",
        "MAX_ATTEMPTS": (
            "tries of a message whose own trouble it is, such as a busy volume: "
            "see [When the API fails](#when-the-api-fails)"
        ),
        "MAX_AGE": "seconds until a message that cannot be handled becomes a dead letter",
        "TRACK_BACKUPS": "follow each backup to its end; `false`: `backup.accepted` is final",
        "TRACK_DEADLINE": "seconds until a backup in progress is given up",
        "LEASE_SECONDS": "seconds that a claim holds unless its worker renews it",
        "SKIP_SNAPSHOTS": (
            "names of snapshots that are not backed up, with commas: see [Patterns](#patterns). The default "
            "is what the backup service and Cinder make for their own work: name it too if you set others"
        ),
        "RULES_FILE": "a TOML file that says how each kind of snapshot is backed up: see [Rules](#rules)",
        "DRAIN_SECONDS": "seconds to finish the messages in hand after SIGTERM",
        "MAX_BODY_BYTES": "larger messages become dead letters; counted before and after decompression",
    },
    "Console": {
        "CONSOLE_ADDRESS": "`host:port` where `snapshot-backup console` serves the operator's page",
        "CONSOLE_TOKEN": (
            "what operators and programs sign in to [the page](#the-operators-page) with, of at least 16 "
            "characters. Needed where `CONSOLE_ADDRESS` is not on the loopback interface; unset: no sign-in"
        ),
        "CONSOLE_READ_TOKEN": (
            "another token, for those who may read and not act. Needs `CONSOLE_TOKEN`, and must differ from "
            "it"
        ),
    },
    "Operations": {
        "HTTP_ADDRESS": "`host:port` that serves `/healthz`, `/readyz` and `/metrics`",
        "LOG_LEVEL": "`DEBUG`, `INFO`, `WARNING` or `ERROR`",
        "LOG_FORMAT": "`json` or `text`",
        "SECRETS_DIR": "folder of files that are named after settings",
    },
}
"""The meanings by the documents' sections; ``SECRETS_DIR`` says where settings are, and is none itself."""

_WITHOUT_DEFAULT: Final[Mapping[str, str]] = {
    "VBS_ENDPOINT": "by the catalogue",
    "EVS_ENDPOINT": "by the catalogue",
    "VBS_API_VERSION": "negotiated",
    "VBS_ALLOWED_PROJECTS": "all",
    "LOG_FORMAT": "json, or text on a terminal",
    "OS_USER_DOMAIN_NAME": "Default",
    "OS_PROJECT_DOMAIN_NAME": "the user's",
    "OS_INTERFACE": "public",
}
"""What is used where a setting has no default of its own."""


def default_of(name: str) -> str:
    """Return a setting's default as it would be written; empty where there is none."""
    field = Settings.model_fields.get(name.lower())
    return text_of(field.default) if field else ""


def otherwise(name: str) -> str:
    """Return what is used where a setting without a default is not set."""
    return _WITHOUT_DEFAULT.get(name, "")


def text_of(value: object) -> str:
    """Return a value as it would be written. Secrets are not masked."""
    match value:
        case None:
            return ""
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.9f}".rstrip("0").rstrip(".")
        case tuple():
            return ",".join(":".join(each) if isinstance(each, tuple) else text_of(each) for each in value)
    return str(value)


def table(section: str) -> str:
    """Return a section's table in Markdown, as the documents have it."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, meaning in GROUPS[section].items():
        default = f"`{text}`" if (text := default_of(name)) else otherwise(name)
        rows.append(f"| `{name}` | {default}{' ' * bool(default)}| {meaning} |")
    return "\n".join(rows)
