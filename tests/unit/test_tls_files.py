"""The PEM files of settings: what is in a wrong one is named, with the variable."""

import subprocess
from pathlib import Path

import pytest

from handler.broker.connection import Tls
from handler.errors import SettingsError
from handler.settings import load_settings
from handler.vbs.transport.http import http_client
from tests.settings_names import program
from tests.tls import make_certificate


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a certificate and its key, and with everything that people put in their place."""
    folder, other = (tmp_path_factory.mktemp(name) for name in ("mine", "other"))
    make_certificate(folder, "DNS:broker.example.com")
    (folder / "other.pem").write_bytes(make_certificate(other, "DNS:other.example.com").key.read_bytes())
    openssl = program("openssl")
    for arguments in (
        "x509 -in cert.pem -outform DER -out cert.der",
        "pkey -in key.pem -outform DER -out key.der",
        "pkey -in key.pem -aes256 -passout pass:s3cret -out encrypted.pem",
        "ec -in key.pem -aes256 -passout pass:s3cret -out legacy.pem",
    ):
        subprocess.run([openssl, *arguments.split()], cwd=folder, check=True, capture_output=True)
    for name in ("cert", "key"):
        whole = (folder / f"{name}.pem").read_text()
        (folder / f"{name}-cut.pem").write_text(whole[: len(whole) // 2])
    (folder / "empty.pem").touch()
    return folder


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("cert.der", "is no PEM file"),
        ("empty.pem", "is no PEM file"),
        ("key.pem", "holds no certificate"),
        ("cert-cut.pem", "holds a damaged certificate"),
        ("gone.pem", r"cannot be read \(No such file"),
    ],
)
def test_a_wrong_file_of_authorities_is_named(files: Path, file: str, says: str) -> None:
    """The error names the variable and the file, says what is in it, and ends with an example."""
    with pytest.raises(
        SettingsError, match=rf"^AMQP_CA_FILE: {files / file} {says}.* such as AMQP_CA_FILE=\S+$"
    ):
        Tls(ca_file=files / file).context()


def test_a_wrong_file_of_the_apis_authorities_is_named(files: Path) -> None:
    """The files for the API are read in the same way."""
    with pytest.raises(SettingsError, match=r"^VBS_CA_FILE: .* is no PEM file.* such as VBS_CA_FILE=\S+$"):
        http_client(load_settings(_env_file=None, vbs_ca_file=str(files / "cert.der")))


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("cert.der", "key.pem", r"AMQP_CERT_FILE: \S+cert.der is no PEM file"),
        ("key.pem", "key.pem", r"AMQP_CERT_FILE: \S+key.pem holds no certificate"),
        ("cert-cut.pem", "key.pem", r"AMQP_CERT_FILE: \S+ holds a damaged certificate"),
        ("cert.pem", "key.der", r"AMQP_KEY_FILE: \S+key.der is no PEM file"),
        ("cert.pem", "cert.pem", r"AMQP_KEY_FILE: \S+cert.pem holds no private key"),
        ("cert.pem", "key-cut.pem", r"AMQP_KEY_FILE: \S+ holds a damaged private key"),
        ("cert.pem", "other.pem", r"AMQP_KEY_FILE: \S+ is the key of another certificate"),
        ("cert.pem", "encrypted.pem", r"AMQP_KEY_FILE: \S+ needs a passphrase"),
        ("cert.pem", "legacy.pem", r"AMQP_KEY_FILE: \S+ needs a passphrase"),
        ("cert.pem", "gone.pem", r"AMQP_KEY_FILE: \S+ cannot be read \(No such file"),
    ],
)
def test_a_wrong_client_certificate_or_key_is_named(files: Path, cert: str, key: str, says: str) -> None:
    """The error says which of the two files is wrong, and how; nothing asks for a passphrase."""
    with pytest.raises(SettingsError, match=rf"^{says}.* such as AMQP_(CERT|KEY)_FILE=\S+$"):
        Tls(files / "cert.pem", files / cert, files / key).context()


def test_a_certificate_with_its_key_is_presented(files: Path) -> None:
    """The right files give a context that checks the broker's name."""
    assert Tls(files / "cert.pem", files / "cert.pem", files / "key.pem").context().check_hostname
