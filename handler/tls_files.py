"""The PEM files of TLS: loaded into an SSL context, with errors that say what is in the file instead."""

import ssl
from pathlib import Path

from handler.errors import SettingsError

_LOCKED = "needs a passphrase, and the program has none; remove it: openssl pkey -in FILE -out PLAIN"


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
    return SettingsError(f"{variable}: {path} {what}, such as {variable}=/etc/ssl/{example}")


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
