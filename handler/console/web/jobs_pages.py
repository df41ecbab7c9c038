"""The pages and API routes of replays and drops that run or have run."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from handler.console.jobs import Job
from handler.console.web.forms import form, json_body
from handler.console.web.site import Site

_REFRESH_SECONDS = 2


class JobsPages:
    """Shows jobs, and stops them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/jobs/{id}", self.page, methods=["GET"]),
            Route("/jobs/{id}/stop", self.stop_form, methods=["POST"]),
            Route("/jobs/{id}/export", self.export, methods=["GET"]),
            Route("/api/jobs", self.list, methods=["GET"]),
            Route("/api/jobs/{id}", self.one, methods=["GET"]),
            Route("/api/jobs/{id}/stop", self.stop, methods=["POST"]),
        ]

    async def page(self, request: Request) -> Response:
        """Show the progress of a job; the page refreshes itself while it runs."""
        job = self._find(request)
        refresh = _REFRESH_SECONDS if job.state == "running" else None
        return self._site.pages.page(request, "job.html", HTTPStatus.OK, job=job.document(), refresh=refresh)

    async def stop_form(self, request: Request) -> Response:
        """Stop a job."""
        await form(request, self._site.sessions)
        job = self._find(request)
        job.stop.set()
        return RedirectResponse(f"/jobs/{job.id}", HTTPStatus.SEE_OTHER)

    async def export(self, request: Request) -> Response:
        """Download what a drop has exported."""
        job = self._find(request)
        if job.file is None or not job.file.exists():
            raise HTTPException(HTTPStatus.NOT_FOUND, "This job has exported nothing, or its file is gone.")
        return FileResponse(job.file, media_type="application/jsonl", filename=job.file.name)

    async def list(self, _request: Request) -> Response:
        """Return the jobs since the start of this process."""
        return JSONResponse({"jobs": [job.document() for job in self._site.jobs.all()]})

    async def one(self, request: Request) -> Response:
        """Return a job."""
        return JSONResponse(self._find(request).document())

    async def stop(self, request: Request) -> Response:
        """Stop a job, after what is in flight is confirmed."""
        await json_body(request)
        job = self._find(request)
        job.stop.set()
        return JSONResponse(job.document())

    def _find(self, request: Request) -> Job:
        if (job := self._site.jobs.get(request.path_params["id"])) is None:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, "There is no such job: the latest are kept until the console ends."
            )
        return job
