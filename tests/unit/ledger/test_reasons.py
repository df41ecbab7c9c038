"""Tests of what the texts of PostgreSQL, psycopg, poolers and SQLite mean, and of what to do."""

import pytest

from handler.ledger.reasons import POSTGRES, SQLITE, of_postgres, of_sqlite

UNKNOWN = ("PostgreSQL reports an error", "the file cannot be used")

OF_POSTGRES = [
    ("cannot exit pipeline mode while busy", None, "connection to PostgreSQL was lost"),
    ("the connection is lost", None, "connection to PostgreSQL was lost"),
    ("the connection is closed", None, "connection to PostgreSQL was lost"),
    (
        "server closed the connection unexpectedly\n\tThis probably means …",
        None,
        "connection to PostgreSQL was lost",
    ),
    ("consuming input failed: could not receive data from server: Connection timed out", None, "was lost"),
    ("could not send data to server: Broken pipe", None, "was lost"),
    ("SSL SYSCALL error: EOF detected", None, "was lost"),
    ("SSL error: unexpected eof while reading", None, "was lost"),
    ("consuming input failed: no connection to the server", None, "was lost"),
    ('lost synchronization with server: got message type "H"', None, "was lost"),
    ("die Verbindung wird auf Anforderung des Administrators beendet", "57P01", "was lost"),
    ("terminating connection because of crash of another server process", "57P02", "was lost"),
    ("connection failed: FATAL:  the database system is starting up", None, "starting or stopping"),
    ("das Datenbanksystem fährt herunter", "57P03", "starting or stopping"),
    ("FATAL:  sorry, too many clients already", None, "no more connections"),
    ("FATAL:  remaining connection slots are reserved", None, "no more connections"),
    ('could not extend file "base/1/2": No space left on device', "53100", "disk of PostgreSQL is full"),
    ("canceling statement due to lock timeout", "55P03", "another transaction holds a lock"),
    ("deadlock detected", "40P01", "another transaction holds a lock"),
    ("canceling statement due to statement timeout", "57014", "did not finish a statement"),
    ("terminating connection due to idle-in-transaction timeout", "25P03", "stood still"),
    ('could not read block 3 in file "base/1/2": read only 0 of 8192 bytes', "XX001", "cannot read or write"),
    ("could not fsync file", "58030", "cannot read or write"),
    ("no answer within 9 s", None, "does not answer"),
    ("no answer to COMMIT within 9 s", None, "does not confirm a commit"),
    (
        "no answer within 9 s to a transaction that was sent at once",
        None,
        "does not answer, does not confirm a commit, or no connection",
    ),
    ("connection timeout expired", None, "takes no connection in time"),
    ("session is read-only", None, "the database is read-only"),
    ("cannot execute INSERT in a read-only transaction", "25006", "the database is read-only"),
    ('connection to server at "h", port 1 failed: Connection refused', None, "no program listens"),
    ('failed to resolve host "h": [Errno -2] Name or service not known', None, "cannot be resolved"),
    ('FATAL:  password authentication failed for user "u"', None, "refused user and password"),
    ("query_wait_timeout", "08P01", "no connection to PostgreSQL was free"),
    (
        "server login has been failing, cached error: connect failed (server_login_retry)",
        None,
        "pooler does not reach",
    ),
]

OF_SQLITE = [
    ("database is locked", "another program holds a lock"),
    ("database table is locked", "another program holds a lock"),
    ("disk I/O error", "the disk fails"),
    ("locking protocol", "the disk fails"),
    ("database disk image is malformed", "is damaged"),
    ("file is not a database", "not a ledger"),
    ("no such table: ledger", "has not the tables"),
    ("attempt to write a readonly database", "cannot be written"),
    ("[Errno 30] Read-only file system: '/l.db'", "cannot be written"),
    ("database or disk is full", "the disk is full"),
    ("[Errno 122] Disk quota exceeded", "the disk is full"),
    ("unable to open database file", "cannot be opened"),
    ("[Errno 24] Too many open files", "cannot be opened"),
    ("out of memory", "no memory left"),
    ("no answer of the disk within 5 s", "does not answer"),
]


@pytest.mark.parametrize(("text", "code", "reason"), OF_POSTGRES)
def test_a_text_of_postgresql_has_a_reason_and_a_remedy(text: str, code: str | None, reason: str) -> None:
    """The setting is named once; then come the reason, what to do, and the text itself."""
    error = of_postgres(text, code)
    assert reason in error.reason
    remedy = error.remedy.removeprefix("LEDGER_URL: ")
    assert remedy
    assert f"LEDGER_URL: {error.reason}: {remedy} ({error.detail})" == str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(("text", "reason"), OF_SQLITE)
def test_a_text_of_sqlite_has_a_reason_and_a_remedy(text: str, reason: str) -> None:
    """The line names the file, the reason, what to do, and the text itself."""
    error = of_sqlite(text, "/data/l.db")
    assert reason in error.reason
    assert error.remedy
    assert f"LEDGER_URL: /data/l.db: {error.reason}: {error.remedy} ({text})" == str(error)


def test_an_unknown_text_is_shown_as_it_is() -> None:
    """It stands in the log's line, and not in the summary, which a page shows."""
    for error in (of_postgres("something new", None), of_sqlite("something new", "/data/l.db")):
        assert error.reason in UNKNOWN
        assert "something new" in str(error)
        assert "something new" not in error.summary


def test_a_summary_has_no_name_of_host_user_or_file() -> None:
    """``/readyz`` may be read by others: the summary is in our own words only."""
    texts = (
        of_postgres(
            'connection to server at "db.internal", port 5432 failed: FATAL: password authentication '
            'failed for user "ledger"',
            None,
        ),
        of_sqlite("unable to open database file", "/data/l.db"),
    )
    for error in texts:
        for name in ("db.internal", 'ledger"', "/data"):
            assert name not in error.summary


def test_a_password_is_not_in_a_line() -> None:
    """The driver's text may quote it."""
    assert "s3cret" not in str(of_postgres("bad: s3cret", None, password="s3cret"))


def test_every_reason_says_what_to_do() -> None:
    """No reason stands without a remedy."""
    assert [] == [each for each in (*POSTGRES, *SQLITE) if not each.text or not each.remedy]
