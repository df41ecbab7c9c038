"""The site: what pages and API share in one process."""

from typing import NamedTuple

from handler.console.audit import Audit
from handler.console.jobs import Jobs
from handler.console.ledger_access import LedgerAccess
from handler.console.looks import Looks
from handler.console.queues import Queues
from handler.console.web.rendering import Pages
from handler.console.web.sessions import Sessions
from handler.console.web.sign_in import SignIn
from handler.settings import Settings


class Site(NamedTuple):
    """The settings, who may come in, and what answers."""

    settings: Settings
    sessions: Sessions
    sign_in: SignIn
    pages: Pages
    ledger: LedgerAccess
    queues: Queues
    looks: Looks
    jobs: Jobs
    audit: Audit

    async def aclose(self) -> None:
        """Close what was opened."""
        await self.jobs.aclose()
        await self.ledger.aclose()


def make_site(settings: Settings) -> Site:
    """Make the site of these settings; nothing is opened yet."""
    ledger, looks = LedgerAccess(settings), Looks(settings)
    audit = Audit(ledger.open, settings.snapshot_queue)
    sessions, sign_in = Sessions(), SignIn(settings.console_token, settings.console_read_token)
    return Site(
        settings=settings,
        sessions=sessions,
        sign_in=sign_in,
        pages=Pages(sessions, sign_out=sign_in.needed),
        ledger=ledger,
        queues=Queues(settings),
        looks=looks,
        jobs=Jobs(settings, ledger, looks, audit),
        audit=audit,
    )
