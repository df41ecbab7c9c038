"""Why a connection could not be made: the sentence of a library → what it means and what to do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class _Cause(NamedTuple):
    pattern: str
    text: str
    remedy: str


_CAUSES: Sequence[_Cause] = (
    # TLS, as OpenSSL says it
    _Cause(
        r"Hostname mismatch|IP address mismatch",
        "its TLS certificate is for another name",
        "{url}: use the name that the certificate is for, or have it issued for this one",
    ),
    _Cause(
        r"certificate has expired",
        "its TLS certificate has expired",
        "have it renewed; if it has been, look at this machine's clock",
    ),
    _Cause(
        r"certificate is not yet valid",
        "its TLS certificate is not valid yet",
        "look at this machine's clock",
    ),
    _Cause(
        r"unable to get (?:local )?issuer|self.signed certificate|CERTIFICATE_VERIFY_FAILED",
        "its TLS certificate is signed by nobody who is trusted here",
        "{ca}: name the file with the certificate of the authority that signed it",
    ),
    _Cause(
        r"CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE",
        "it refused our side of the TLS handshake",
        "it may want a client certificate{cert}",
    ),
    _Cause(
        r"WRONG_VERSION_NUMBER|record layer failure|UNEXPECTED_MESSAGE",
        "it does not speak TLS there",
        "{url}: another port, or the scheme without TLS if that is meant",
    ),
    # signing in at a broker or a database
    _Cause(
        r"Login was refused",
        "it refused user and password",
        "{url}: check user and password (%-encode special characters); RabbitMQ lets guest in from its own "
        "machine only",
    ),
    _Cause(
        r'password authentication failed|no password supplied|role ".*" (?:does not exist|is not permitted)',
        "it refused user and password",
        "{url}: check user and password (%-encode special characters), and that the user may log in",
    ),
    _Cause(
        r"session is read-only|read-only transaction|hot standby",
        "it lets nobody write",
        "{url}: the primary, not a standby; or end what made the database read-only",
    ),
    _Cause(
        r"vhost .* not found",
        "it has no such virtual host",
        "{url}: check the virtual host after the last slash (%2F is /), or add it: rabbitmqctl add_vhost",
    ),
    _Cause(
        r"access to vhost .* refused",
        "the user may not use this virtual host",
        "rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ, or another user in {url}",
    ),
    _Cause(r'database ".*" does not exist', "it has no such database", "{url}: check its name, or create it"),
    _Cause(
        r"permission denied for (?:schema|database|table)",
        "the user lacks a right in the database",
        "GRANT CREATE, USAGE ON SCHEMA public TO the user of {url}",
    ),
    # the way there
    _Cause(
        r"through the proxy of (?:HTTPS?_PROXY|ALL_PROXY|https?_proxy|all_proxy)",
        "the proxy made no connection",
        "check that proxy and its login, or name the host in NO_PROXY if it is reached without one",
    ),
    _Cause(
        r"Name or service not known|nodename nor servname|Temporary failure in name|No address associated"
        r"|could not translate host name|Domain name not found|Could not contact DNS|failed to resolve host",
        "the host's name is not known",
        "{url}: check the host's name, and this machine's name service",
    ),
    _Cause(
        r"Connection refused|Connect call failed",
        "nobody listens there",
        "{url}: check host and port, and whether it runs",
    ),
    _Cause(
        r"(?i)no answer within|timed? ?out|No route to host|Network is unreachable",
        "it does not answer",
        "{url}: check host and port, routes, and the firewalls between",
    ),
    _Cause(
        r"StreamLost|Connection reset|ConnectionReset|ServerDisconnected|IncompatibleProtocol|EOF"
        r"|disconnected|unexpectedly|Expected HTTP",
        "it ended the connection without an answer",
        "{url}: check scheme and port: a port for TLS wants the scheme with an s",
    ),
)
"""The first that fits is taken."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a connection goes: the variables that name it, those for TLS, and any address in it to show."""

    url: str
    ca: str
    cert: str = ""


def explain(setting: Setting, problem: str) -> tuple[str, str]:
    """Return what is wrong and the remedy; ``problem`` is the library's sentence, without secrets."""
    sentence = " ".join(problem.split())[:300]
    for cause in _CAUSES:
        if re.search(cause.pattern, sentence):
            cert = f": {setting.cert}" if setting.cert else ""
            remedy = cause.remedy.format(url=setting.url, ca=setting.ca, cert=cert)
            return f"{cause.text} ({sentence})", remedy
    return sentence, f"check {setting.url}"
