"""Faults on demand: what goes wrong, on which calls, how often.

| effect        | the work is done | the caller sees |
|---------------|------------------|-----------------|
| `status`      | no               | `status`, with `body` and `headers` |
| `delay`       | yes, in the end  | the answer, `seconds` late; the work is done even if the caller went |
| `drop_before` | no               | the connection cut |
| `drop_after`  | yes              | the connection cut |
| `hang`        | no               | nothing, until the caller gives up (or `seconds` pass, then a cut) |
| `garbage`     | yes              | the answer with its body cut in half, or `body` |
| `fail_later`  | yes              | the usual 202; `seconds` later the backup is in `error`, `fail_reason` |
| `late_commit` | `seconds` later  | the connection cut at once |

With any other effect `seconds` is a wait before it. A fault with a `project_id` happens to that project's
calls alone. The first fault in the list that matches the call, has `times` left and wins the draw for its
`probability` is the one that happens.
"""

import random
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Route = Literal["create", "list", "show", "delete", "snapshot", "token", "other"]
Effect = Literal[
    "status", "delay", "drop_before", "drop_after", "hang", "garbage", "fail_later", "late_commit"
]


class Fault(BaseModel):
    """One thing that goes wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route: Route | Literal["*"] = "*"
    project_id: str | None = None
    effect: Effect
    status: int | None = Field(default=None, ge=200, le=599)
    body: object = None
    headers: dict[str, str] = Field(default_factory=dict)
    seconds: float | None = Field(default=None, ge=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    times: int | None = Field(default=None, ge=0)
    fail_reason: str = "the emulator was told to fail this backup"


FAULTS = TypeAdapter(list[Fault])


class FaultPlan:
    """The faults in force; its draws repeat with the seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.replace([])

    def replace(self, faults: Sequence[Fault]) -> None:
        """Put other faults in force and start the draws anew."""
        self.faults = list(faults)
        self._left = [fault.times for fault in faults]
        self._random = random.Random(self._seed)  # noqa: S311 - draws for tests

    def draw(self, route: Route, project_id: str | None = None) -> Fault | None:
        """Choose what happens to one call, and use it up."""
        for index, fault in enumerate(self.faults):
            left = self._left[index]
            if fault.route not in (route, "*") or left == 0:
                continue
            if fault.project_id not in (project_id, None):
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            if left is not None:
                self._left[index] = left - 1
            return fault
        return None
