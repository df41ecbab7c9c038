"""The pages and API routes of replays, drops and undos that run or have run."""

from http import HTTPStatus

from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from handler.console.job import Job
from handler.console.jobs import NoExport
from handler.console.web.forms import form, order_of
from handler.console.web.site import Site

_REFRESH_SECONDS = 2


class JobOrder(BaseModel):
    """Nothing but the job's id, which is in the path."""

    model_config = ConfigDict(extra="forbid")


class JobsPages:
    """Shows jobs, stops them, and undoes drops."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/jobs/{id}", self.page, methods=["GET"]),
            Route("/jobs/{id}/stop", self.stop_form, methods=["POST"]),
            Route("/jobs/{id}/export", self.export, methods=["GET"]),
            Route("/jobs/{id}/undo", self.undo_form, methods=["POST"]),
            Route("/api/jobs", self.list, methods=["GET"]),
            Route("/api/jobs/{id}", self.one, methods=["GET"]),
            Route("/api/jobs/{id}/stop", self.stop, methods=["POST"]),
            Route("/api/jobs/{id}/undo", self.undo, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show the progress of a job; the page refreshes itself while it runs."""
        job = self._find(request)
        refresh = _REFRESH_SECONDS if job.state == "running" else None
        return self._site.pages.page(
            request,
            "job.html",
            HTTPStatus.OK,
            job=job.document(),
            can_be_undone=job.can_be_undone,
            refresh=refresh,
        )

    async def stop_form(self, request: Request) -> Response:
        """Stop a job."""
        await form(request, self._site.sessions)
        job = await self._stop(request)
        return RedirectResponse(f"/jobs/{job.id}", HTTPStatus.SEE_OTHER)

    async def export(self, request: Request) -> Response:
        """Download what a drop has exported."""
        job = self._find(request)
        if (file := job.exported) is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, str(NoExport()))
        return FileResponse(file, media_type="application/jsonl", filename=file.name)

    async def undo_form(self, request: Request) -> Response:
        """Put back what a drop has removed, and lead to its progress."""
        await form(request, self._site.sessions)
        return RedirectResponse(f"/jobs/{self._undo(request).id}", HTTPStatus.SEE_OTHER)

    async def list(self, _request: Request) -> Response:
        """Return the jobs since the start of this process."""
        return JSONResponse({"jobs": [job.document() for job in self._site.jobs.all()]})

    async def one(self, request: Request) -> Response:
        """Return a job."""
        return JSONResponse(self._find(request).document())

    async def stop(self, request: Request) -> Response:
        """Stop a job, after what is in flight is confirmed."""
        await order_of(request, JobOrder)
        return JSONResponse((await self._stop(request)).document())

    async def undo(self, request: Request) -> Response:
        """Put back what a drop has removed."""
        await order_of(request, JobOrder)
        return JSONResponse(self._undo(request).document(), HTTPStatus.ACCEPTED)

    async def _stop(self, request: Request) -> Job:
        job = self._find(request)
        async with self._site.audit.act(request.state.caller.name, "stop", f"{job.kind} {job.id}"):
            job.stop.set()
        return job

    def _undo(self, request: Request) -> Job:
        try:
            return self._site.jobs.undo(request.state.caller.name, request.path_params["id"])
        except NoExport as error:
            raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None

    def _find(self, request: Request) -> Job:
        if (job := self._site.jobs.get(request.path_params["id"])) is None:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, "There is no such job: the latest are kept until the console ends."
            )
        return job
