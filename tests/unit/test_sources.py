"""Where settings come from: ``.env`` and ``SECRETS_DIR`` in the forms that other programs write."""

import os
import threading
from pathlib import Path

import pytest

from handler.errors import SettingsError
from handler.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the program's working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create the folder that ``SECRETS_DIR`` names, and return it."""
    path = folder / "secrets"
    path.mkdir()
    monkeypatch.setenv("SECRETS_DIR", str(path))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "VBS_ENDPOINT=https://vbs.example.com",
        "export VBS_ENDPOINT=https://vbs.example.com\n",
        'VBS_ENDPOINT="https://vbs.example.com"\r\nOTHER=x\r\n',
        "# ours\n\n  VBS_ENDPOINT = 'https://vbs.example.com'  # the API\n",
        'HOST=vbs.example.com\nexport VBS_ENDPOINT="https://${HOST}"  # the API\n',
        "\N{ZERO WIDTH NO-BREAK SPACE}VBS_ENDPOINT=https://vbs.example.com\n",
        'OTHER="several\nlines"\nVBS_ENDPOINT=https://vbs.example.com\n',
        "vbs_endpoint=https://vbs.example.com\nEMPTY=\nNOTHING\n",
        "VBS_ENDPOINT=https://old.example.com\nVBS_ENDPOINT=https://vbs.example.com\n",
        "VBS_ENDPOINT=https://vbs.example.com\nexport VBS_ENDPOINT\nspring.hosts[0]=x\n",
    ],
)
def test_a_dotenv_file_is_read_as_shells_write_it(folder: Path, text: str) -> None:
    """A ``.env`` file may have quotes, comments, ``export``, variables and Windows line ends."""
    (folder / ".env").write_text(text, encoding="utf-8", newline="")

    assert "https://vbs.example.com" == load_settings().vbs_endpoint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"A=1\nVBS_ENDPOINT='https://vbs\nB=2\n", r"line 2 cannot be read; each is NAME=value"),
        (b'A="1\n', r"line 1 cannot be read"),
        *(
            (b"A=1\n" + line + b"\n", r"line 2 cannot be read")
            for line in (
                b"[broker]",
                b"$env:LOG_LEVEL=INFO",
                b'"LOG_LEVEL"="INFO"',
                b"LOG_LEVEL:INFO",
                b"A+=1",
            )
        ),
        (b"OS_PASSWORD=p\xe4ss\n", r"is not UTF-8"),
        ("OS_PASSWORD=x\n".encode("utf-16"), r"is not UTF-8"),
    ],
)
def test_a_dotenv_file_that_cannot_be_parsed_is_refused_by_its_line(
    folder: Path, content: bytes, says: str
) -> None:
    """A line that cannot be parsed is an error: it was skipped with a library's warning."""
    (folder / ".env").write_bytes(content)

    with pytest.raises(SettingsError, match=rf"^\.env: {says}.* such as LOG_LEVEL=INFO$"):
        load_settings()


def test_a_dotenv_link_to_nothing_is_refused(folder: Path) -> None:
    """A ``.env`` whose file is gone is not taken for none at all."""
    (folder / ".env").symlink_to("gone")

    with pytest.raises(
        SettingsError, match=r"^\.env is a link to a file that does not exist; make that file"
    ):
        load_settings()


def test_a_dotenv_folder_is_no_file_of_settings(folder: Path) -> None:
    """A folder called ``.env`` is ignored: virtual environments are often called so."""
    (folder / ".env").mkdir()

    assert Settings() == load_settings()


def test_a_dotenv_pipe_is_read(folder: Path) -> None:
    """A ``.env`` may be a named pipe, as password managers make it."""
    os.mkfifo(folder / ".env", 0o600)
    writer = threading.Thread(target=(folder / ".env").write_text, args=("LOG_LEVEL=DEBUG\n",))
    writer.start()
    try:
        assert "DEBUG" == load_settings().log_level
    finally:
        writer.join()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_dotenv_file_that_cannot_be_read_is_refused(folder: Path) -> None:
    """A ``.env`` that this user cannot read is an error."""
    (folder / ".env").write_text("LOG_LEVEL=DEBUG")
    (folder / ".env").chmod(0)

    with pytest.raises(SettingsError, match=r"^\.env cannot be read by this user; .* chmod u\+r \.env$"):
        load_settings()


def test_a_dotenv_file_that_every_user_may_write_is_refused_in_one_line(folder: Path) -> None:
    """A ``.env`` file that all users may write is refused: another user could redirect the sign-in."""
    dotenv = folder / ".env"
    dotenv.write_text("VBS_ENDPOINT=https://vbs.example.com\n")
    dotenv.chmod(0o646)
    with pytest.raises(SettingsError, match=r"^\.env: every user may write it.* chmod o-w \.env$"):
        load_settings()
    dotenv.chmod(0o664)
    assert "https://vbs.example.com" == load_settings().vbs_endpoint


def test_the_links_of_kubernetes_are_followed(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mounted secret is a link to a file under ``..data``, which is a link to a folder itself."""
    version = secrets / "..2026_11_26_15_00_00.1234567890"
    version.mkdir()
    (version / "OS_TOKEN").write_text("t0ken\n")
    (secrets / "..data").symlink_to(version.name)
    (secrets / "OS_TOKEN").symlink_to("..data/OS_TOKEN")

    for place in (secrets, secrets / "..data"):
        monkeypatch.setenv("SECRETS_DIR", f" {place}\n")
        token = load_settings().os_token
        assert token is not None
        assert "t0ken" == token.get_secret_value()


def test_the_files_of_a_folder_are_found_in_either_case(secrets: Path) -> None:
    """Docker's secrets are often named in small letters; the name in capitals goes first."""
    (secrets / "snapshot_queue").write_text("small")
    (secrets / "snapshot_exchange").write_text("small")
    (secrets / "SNAPSHOT_EXCHANGE").write_text("capital")

    found = load_settings()

    assert ("small", "capital") == (found.snapshot_queue, found.snapshot_exchange)


def test_other_files_beside_the_secrets_are_ignored(secrets: Path) -> None:
    """A mounted secret may have keys for other programs, and folders that make its updates atomic."""
    (secrets / "..data").mkdir()
    (secrets / "tls.key").write_bytes(b"\xff")

    assert Settings() == load_settings()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff", "is not UTF-8"),
        ("t0ken".encode("utf-16"), "is not UTF-8"),
        (b"x" * (1024 * 1024 + 1), "is larger than 1 MiB"),
        (None, r"is a folder; a value is a file with one line"),
        ("link", r"is a link to a file that does not exist; make that file, or delete the link"),
    ],
    ids=["binary", "UTF-16", "large", "a folder", "a broken link"],
)
def test_a_secret_that_cannot_be_read_is_named(secrets: Path, content: bytes | str | None, says: str) -> None:
    """The error is one line with the file's path."""
    path = secrets / "OS_TOKEN"
    if content is None:
        path.mkdir()
    elif isinstance(content, str):
        path.symlink_to("..data/OS_TOKEN")
    else:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=rf"^SECRETS_DIR: {path} {says}[^\n]*$"):
        load_settings()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_a_folder_of_secrets_that_cannot_be_read_is_refused(secrets: Path) -> None:
    """A folder without the right to read it is not taken for an empty one."""
    secrets.chmod(0)
    try:
        with pytest.raises(SettingsError, match=r"^SECRETS_DIR: .* \(Permission denied\)"):
            load_settings()
    finally:
        secrets.chmod(0o700)


def test_a_missing_secrets_folder_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing mount is not taken for an empty set of secrets."""
    monkeypatch.setenv("SECRETS_DIR", str(folder / "none"))

    with pytest.raises(SettingsError, match=r"^SECRETS_DIR: .* is not a folder that can be read"):
        load_settings()
