"""Fault injection: which effect, on which calls, how often.

| effect        | work is done    | the caller sees |
|---------------|-----------------|-----------------|
| `status`      | no              | `status`, with `body` and `headers` |
| `delay`       | yes             | the answer, `seconds` late; the work is done even if the caller has gone |
| `drop_before` | no              | a closed connection |
| `drop_after`  | yes             | a closed connection |
| `hang`        | no              | nothing until it gives up, or a closed connection after `seconds` |
| `garbage`     | yes             | the answer with half of its body, or with `body` |
| `raw`         | yes             | the bytes of `body` (see `raw_answer`), then a closed connection |
| `fail_later`  | yes             | the usual 202; after `seconds` the backup is in `error`: `fail_reason` |
| `late_commit` | `seconds` later | a connection that is closed at once |

After a `raw` answer, the connection stays open for `seconds`; without `seconds` it is closed at once. With
any other effect, `seconds` is a delay before it. A fault with a `project_id` affects only the calls of that
project, one with a `path` only those whose path begins with it: those of one endpoint. For each call the
first fault takes effect that matches the call, has `times` left and is drawn by its `probability`.
"""

import random
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Route = Literal["create", "list", "show", "delete", "snapshot", "token", "versions", "other"]
Effect = Literal[
    "status", "delay", "drop_before", "drop_after", "hang", "garbage", "raw", "fail_later", "late_commit"
]


class Fault(BaseModel):
    """One fault: its effect, and the calls that it affects."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: Route | Literal["*"] = "*"
    project_id: str | None = None
    path: str = ""
    effect: Effect
    status: int | None = Field(default=None, ge=200, le=599)
    body: object = None
    headers: dict[str, str] = Field(default_factory=dict)
    seconds: float | None = Field(default=None, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    times: int | None = Field(default=None, ge=0)
    fail_reason: str = "the emulator was told to fail this backup"


def raw_answer(template: str, body: bytes) -> bytes:
    """Return the bytes of a `raw` answer.

    Each character of the template is a byte (Latin-1). `{body}` stands for the API's own body, `{length}` for
    its length, and `{size}` for its length as the size of a chunk.
    """
    values = {b"{length}": b"%d" % len(body), b"{size}": b"%x" % len(body), b"{body}": body}
    answer = template.encode("latin-1")
    for name, value in values.items():
        answer = answer.replace(name, value)
    return answer


FAULTS = TypeAdapter(list[Fault])


class FaultPlan:
    """The active faults; the same seed gives the same draws."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.replace([])

    def replace(self, faults: Sequence[Fault]) -> None:
        """Replace all faults and restart the random draws."""
        self.faults = list(faults)
        self._left = [fault.times for fault in faults]
        self._random = random.Random(self._seed)  # noqa: S311 - draws for tests

    def draw(self, route: Route, project_id: str | None = None, path: str = "") -> Fault | None:
        """Return the fault for one call, and count it as used."""
        for index, fault in enumerate(self.faults):
            left = self._left[index]
            if fault.route not in (route, "*") or left == 0:
                continue
            if fault.project_id not in (project_id, None) or not path.startswith(fault.path):
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            if left is not None:
                self._left[index] = left - 1
            return fault
        return None
