"""The PEM files of TLS: loaded into an SSL context, with errors that say what is in the file instead."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handler.errors import SettingsError

_LOCKED = "needs a passphrase, and the program has none; remove it: openssl pkey -in FILE -out PLAIN"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The PEM files for the connections to one cloud, each with the name that errors call it by.

    ``key`` is None where the key is in the certificate's file.
    """

    authorities: tuple[tuple[str, Path], ...] = ()
    certificate: tuple[str, Path] | None = None
    key: tuple[str, Path] | None = None

    def load(self, context: ssl.SSLContext) -> None:
        """Trust the authorities, and present the certificate. Raises ``SettingsError``."""
        for variable, path in self.authorities:
            trust(context, variable, path)
        if self.certificate:
            variable, path = self.certificate
            key_variable, key = self.key or self.certificate
            present(context, (variable, key_variable), path, key)


NO_FILES: Final = TlsFiles()
"""Nothing besides the system's own authorities."""


def trusting(variable: str, path: Path | None) -> ssl.SSLContext:
    """Return a client's context that trusts the authorities in a file only, or the system's without one."""
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        if path is None:
            raise
        raise _wrong(variable, path, _what(path, error, "CERTIFICATE"), "ca.pem") from None


def trust(context: ssl.SSLContext, variable: str, path: Path) -> None:
    """Trust the authorities in a file too. Raises ``SettingsError``."""
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise _wrong(variable, path, _what(path, error, "CERTIFICATE"), "ca.pem") from None


def present(context: ssl.SSLContext, variables: tuple[str, str], certificate: Path, key: Path) -> None:
    """Present a certificate with its key to the server. Raises ``SettingsError``."""
    try:
        # Without a function here OpenSSL would ask for a passphrase on the terminal, and wait.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except OSError as error:
        trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), variables[0], certificate)
        raise _wrong(variables[1], key, _what(key, error, "PRIVATE KEY"), "client.key") from None


def _wrong(variable: str, path: Path, what: str, example: str) -> SettingsError:
    name = variable.rpartition(": ")[2]
    return SettingsError(f"{variable}: {path} {what}, such as {name}=/etc/ssl/{example}")


def _what(path: Path, error: OSError, wanted: str) -> str:
    """Return what is wrong with a file that is to hold something."""
    try:
        content = path.read_bytes()
    except OSError as unread:
        return f"cannot be read ({unread.strerror}); name a PEM file"
    if b"-----BEGIN " not in content:
        return (
            "is no PEM file, which is text; make one of a DER file with: openssl x509 (or pkey) -inform DER"
        )
    if wanted.encode() not in content:
        return f"holds no {wanted.lower()}; name a PEM file that does"
    if b"ENCRYPTED" in content:
        return _LOCKED
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return "is the key of another certificate; name the one that the certificate was made with"
    return f"holds a damaged {wanted.lower()}; copy the file again"
