"""No secret leaves in an outcome, a dead letter or a log, over worker and function."""

import json
from pathlib import Path

import pytest

from tests.conformance.cases import Case, event, failed
from tests.conformance.function_runner import FunctionRunner
from tests.conformance.runners import WorkerRunner

TOKEN = "gAAAAABl-the-token-of-this-test"
KEY = "the-secret-key-of-this-test"
SETTINGS = {"VBS_AUTH": "token", "OS_TOKEN": TOKEN, "OS_PASSWORD": KEY}
REPEATED = "an answer that repeats secrets"
MESSAGE = f"the token {TOKEN} of the user with the password {KEY} must not do this"
CASE = Case(
    REPEATED,
    [event(REPEATED)],
    [failed("refused")],
    backups=0,
    faults=[
        {
            "route": "create",
            "effect": "status",
            "status": 400,
            "body": json.dumps({"badRequest": {"code": 400, "message": MESSAGE}}),
            "headers": {"X-Openstack-Request-Id": f"req-{TOKEN}"},
        }
    ],
    dead=["refused"],
)


@pytest.mark.broker
@pytest.mark.parametrize("runner", [WorkerRunner, FunctionRunner])
def test_secrets_in_an_answer_are_replaced_in_all_that_leaves(
    runner: type[WorkerRunner],
    amqp_url: str,
    unique: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An API that repeats our token and password in its refusal brings them into nothing that we publish."""
    monkeypatch.setenv("RUNTIME_TIMEOUT", "60")
    seen = runner("sqlite", tmp_path, amqp_url, unique, SETTINGS).collect([CASE])

    texts = [*map(repr, seen), *capfd.readouterr()]
    assert "must not do this" in texts[0]
    assert "must not do this" in texts[1]
    assert [] == [text for text in texts if TOKEN in text or KEY in text]
