"""The endpoints under /_emulator/, by which tests control and inspect the emulator."""

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.emulator import views
from infra.emulator.auth import Authenticator
from infra.emulator.faults import FAULTS, FaultPlan
from infra.emulator.stats import Stats
from infra.emulator.store import Snapshot, Store, new_id


class DeclaredSnapshot(BaseModel):
    """A snapshot that a test declares to exist."""

    model_config = ConfigDict(extra="forbid")

    project_id: str
    volume_id: str
    id: str = Field(default_factory=new_id)
    name: str | None = None
    description: str | None = None
    status: str = "available"
    size: int = Field(default=1, ge=0)
    metadata: dict[str, str] = Field(default_factory=dict)
    volume_status: str = "available"


DECLARED = TypeAdapter(list[DeclaredSnapshot])


class Control:
    """Answers the control calls of tests."""

    def __init__(self, store: Store, faults: FaultPlan, stats: Stats, authenticator: Authenticator) -> None:
        self._store = store
        self._faults = faults
        self._stats = stats
        self._authenticator = authenticator

    def routes(self) -> list[Route]:
        """Return the routes under /_emulator."""
        return [
            Route("/_emulator/backups", self.backups, methods=["GET"]),
            Route("/_emulator/counts", self.counts, methods=["GET"]),
            Route("/_emulator/stats", self.stats, methods=["GET"]),
            Route("/_emulator/faults", self.show_faults, methods=["GET"]),
            Route("/_emulator/faults", self.replace_faults, methods=["PUT"]),
            Route("/_emulator/faults", self.clear_faults, methods=["DELETE"]),
            Route("/_emulator/snapshots", self.snapshots, methods=["GET"]),
            Route("/_emulator/snapshots", self.declare_snapshots, methods=["POST"]),
            Route("/_emulator/reset", self.reset, methods=["POST"]),
        ]

    async def backups(self, _request: Request) -> Response:
        """List all backups ever made, including deleted ones, oldest first."""
        now = self._store.clock()
        return JSONResponse([views.record(backup, now) for backup in self._store.backups.values()])

    async def counts(self, _request: Request) -> Response:
        """Count the backups ever made, without listing them, and the most that were in progress at once."""
        most = self._store.most_in_progress
        return JSONResponse({"backups": len(self._store.backups), "most_in_progress": most})

    async def stats(self, _request: Request) -> Response:
        """Return the counts of calls: {route: {status: count}}; status "none" means no answer."""
        return JSONResponse(self._stats.by_route())

    async def show_faults(self, _request: Request) -> Response:
        """List the active faults."""
        return JSONResponse([fault.model_dump() for fault in self._faults.faults])

    async def replace_faults(self, request: Request) -> Response:
        """Replace all faults."""
        try:
            faults = FAULTS.validate_json(await request.body())
        except ValidationError as problem:
            return _invalid(problem)
        self._faults.replace(faults)
        return JSONResponse([fault.model_dump() for fault in faults])

    async def clear_faults(self, _request: Request) -> Response:
        """Remove all faults."""
        self._faults.replace([])
        return Response(status_code=204)

    async def snapshots(self, _request: Request) -> Response:
        """List all known snapshots."""
        now = self._store.clock()
        known = self._store.snapshots.values()
        return JSONResponse([views.snapshot_detail(snapshot, now) for snapshot in known])

    async def declare_snapshots(self, request: Request) -> Response:
        """Declare a snapshot or a list of them; a known snapshot is replaced."""
        body = await request.body()
        try:
            declared = DECLARED.validate_json(body if body.lstrip().startswith(b"[") else b"[" + body + b"]")
        except ValidationError as problem:
            return _invalid(problem)
        for wanted in declared:
            self._declare(wanted)
        return JSONResponse([wanted.model_dump() for wanted in declared], 201)

    async def reset(self, _request: Request) -> Response:
        """Delete everything: backups, snapshots, faults, tokens and counts."""
        self._store.clear()
        self._faults.replace([])
        self._authenticator.forget()
        self._stats.clear()
        return Response(status_code=204)

    def _declare(self, wanted: DeclaredSnapshot) -> None:
        fields = wanted.model_dump(exclude={"volume_status"})
        known = self._store.snapshots.get(wanted.id)
        created_at = known.created_at if known else self._store.clock()
        self._store.declare(Snapshot(**fields, created_at=created_at), wanted.volume_status)


def _invalid(problem: ValidationError) -> Response:
    return JSONResponse({"error": problem.errors(include_url=False, include_context=False)}, 400)
