"""Explains connection errors: maps the error text of a library to a cause and a remedy."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class _Cause(NamedTuple):
    pattern: str
    text: str
    remedy: str


_CAUSES: Sequence[_Cause] = (
    # TLS, in OpenSSL's words
    _Cause(
        r"Hostname mismatch|IP address mismatch",
        "its TLS certificate is for another name",
        "{url}: use the host name in the certificate, or have a certificate issued for this name",
    ),
    _Cause(
        r"certificate has expired",
        "its TLS certificate has expired",
        "renew the certificate; if it is renewed already, check this machine's clock",
    ),
    _Cause(
        r"certificate is not yet valid",
        "its TLS certificate is not valid yet",
        "check this machine's clock",
    ),
    _Cause(
        r"unable to get (?:local )?issuer|self.signed certificate|CERTIFICATE_VERIFY_FAILED",
        "its TLS certificate is not signed by a trusted authority",
        "{ca}: set it to the file with the certificate of the authority that signed it",
    ),
    _Cause(
        r"CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE",
        "the server refused the TLS handshake",
        "it may require a client certificate{cert}",
    ),
    _Cause(
        r"WRONG_VERSION_NUMBER|record layer failure|UNEXPECTED_MESSAGE",
        "the server does not speak TLS on this port",
        "{url}: use the TLS port, or the scheme without TLS if no encryption is intended",
    ),
    # sign-in at a broker or a database
    _Cause(
        r"Login was refused",
        "the server refused user and password",
        "{url}: check user and password (%-encode special characters); RabbitMQ accepts the user guest only "
        "from its own machine",
    ),
    _Cause(
        r'password authentication failed|no password supplied|role ".*" (?:does not exist|is not permitted)',
        "the server refused user and password",
        "{url}: check user and password (%-encode special characters), and that the user may log in",
    ),
    _Cause(
        r"session is read-only|read-only transaction|hot standby",
        "the database is read-only",
        "{url}: name the primary, not a standby, or make the database writable again",
    ),
    _Cause(
        r"vhost .* not found",
        "the virtual host does not exist",
        "{url}: check the virtual host after the last slash (%2F is /), or create it: rabbitmqctl add_vhost",
    ),
    _Cause(
        r"access to vhost .* refused",
        "the user may not use this virtual host",
        "rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ, or another user in {url}",
    ),
    _Cause(
        r'database ".*" does not exist', "the database does not exist", "{url}: check its name, or create it"
    ),
    _Cause(
        r"permission denied for (?:schema|database|table)",
        "the user lacks a right in the database",
        "GRANT CREATE, USAGE ON SCHEMA public TO the user of {url}",
    ),
    # the network
    _Cause(
        r"through the proxy of (?:HTTPS?_PROXY|ALL_PROXY|https?_proxy|all_proxy)",
        "the proxy made no connection",
        "check that proxy and its login, or name the host in NO_PROXY if it is reached without one",
    ),
    _Cause(
        r"Name or service not known|nodename nor servname|Temporary failure in name|No address associated"
        r"|could not translate host name|Domain name not found|Could not contact DNS|failed to resolve host",
        "the host name cannot be resolved",
        "{url}: check the host name, and this machine's DNS",
    ),
    _Cause(
        r"Connection refused|Connect call failed",
        "connection refused: no program listens on this port",
        "{url}: check host and port, and that the server is running",
    ),
    _Cause(
        r"All connection attempts failed",  # httpx's own transport gives no reason
        "none of its addresses takes a connection",
        "{url}: check host and port, whether it runs, and the firewalls between",
    ),
    _Cause(
        r"(?i)no answer within|timed? ?out|No route to host|Network is unreachable",
        "the server does not answer",
        "{url}: check host and port, routes and firewalls",
    ),
    _Cause(
        r"StreamLost|Connection reset|ConnectionReset|ServerDisconnected|IncompatibleProtocol|EOF"
        r"|disconnected|unexpectedly|Expected HTTP",
        "the server closed the connection without an answer",
        "{url}: check scheme and port; a TLS port needs the scheme with an s, such as amqps://",
    ),
)
"""The first cause whose pattern matches is used."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The variables that a remedy names: that of the address, and those of the TLS files."""

    url: str
    ca: str
    cert: str = ""


def explain(setting: Setting, problem: str) -> tuple[str, str]:
    """Return the cause and the remedy of a library's error text, which must contain no secrets."""
    sentence = " ".join(problem.split())[:300]
    if found := cause_of(setting, sentence):
        return f"{found[0]} ({sentence})", found[1]
    return sentence, f"check {setting.url}"


def cause_of(setting: Setting, sentence: str) -> tuple[str, str] | None:
    """Return the cause and the remedy of an error text; None where it is not known."""
    for cause in _CAUSES:
        if re.search(cause.pattern, sentence):
            cert = f": {setting.cert}" if setting.cert else ""
            return cause.text, cause.remedy.format(url=setting.url, ca=setting.ca, cert=cert)
    return None
