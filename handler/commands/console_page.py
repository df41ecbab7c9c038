"""``snapshot-backup console``: serves the operator's page and its HTTP API."""

import asyncio
import logging

from handler import bootstrap
from handler.commands.common import failing_plainly
from handler.extras import needing
from handler.settings import load
from handler.telemetry import logs
from handler.worker.worker import stop_on_signals

log = logging.getLogger(__name__)


def console() -> None:
    """Serve the operator's page and its HTTP API, until SIGTERM.

    The page shows where snapshots stand, what waits, and the dead letters, and
    replays, drops and puts back these. It listens on CONSOLE_ADDRESS; where that is not on
    the loopback interface, operators sign in with CONSOLE_TOKEN, and those who
    may only read with CONSOLE_READ_TOKEN.
    """
    with failing_plainly():
        settings, sources = load()
        with needing("console", "jinja2", "markupsafe", "starlette", "uvicorn"):
            # Imported here, so that all other commands work without the extra.
            from handler.console.web.server import listen, serve
            from handler.console.web.site import make_site
        logs.set_up(settings.log_level, settings.log_format)
        bootstrap.warn_of_unknown_names(sources)
        with listen(settings) as listener:
            host, port = listener.getsockname()[:2]
            url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

            def ready() -> None:
                log.info("the operator's page is at %s", url, extra={"action": "console.listening"})

            async def run() -> None:
                site, stop = make_site(settings), asyncio.Event()
                with stop_on_signals(stop):
                    try:
                        await serve(site, listener, stop, ready)
                    finally:
                        await site.aclose()

            asyncio.run(run())
