"""The channel between a supervisor and a worker, over a real pair of sockets."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest

from handler.status.server import JSON, Answer, Page, healthy
from handler.supervisor.channel import Channel, answering
from tests.patience import patient

LARGE = Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"x" * 1_000_000, JSON)


def broken() -> Answer:
    """Fail as a page with an error in it does."""
    raise RuntimeError("on purpose")


@asynccontextmanager
async def talking(pages: Mapping[str, Page], orphaned: Callable[[], None]) -> AsyncIterator[Channel]:
    """Yield the supervisor's end, with a worker at the other."""
    ours, theirs = socket.socketpair()
    number = os.dup(theirs.fileno())  # what a process inherits
    theirs.close()
    channel = await Channel.over(ours)
    async with answering(number, pages, orphaned):
        yield channel
    await channel.close()


def run(work: Callable[[Channel], Awaitable[None]], **pages: Page) -> None:
    """Do something over a channel whose worker has these pages."""

    async def within() -> None:
        async with asyncio.timeout(patient(20)):
            served = {f"/{name}": page for name, page in pages.items()}
            async with talking(served, lambda: None) as channel:
                await work(channel)

    asyncio.run(within())


def test_a_worker_answers_its_pages() -> None:
    """An answer arrives whole: status, content type and body, also a large one."""

    async def work(channel: Channel) -> None:
        small, large = await asyncio.gather(channel.ask("/healthz"), channel.ask("/large"))
        assert (healthy(), LARGE) == (small, large)

    run(work, healthz=healthy, large=lambda: LARGE)


@pytest.mark.parametrize(("path", "status"), [("/none", 404), ("/broken", 500)])
def test_a_page_that_does_not_exist_or_fails_is_answered(path: str, status: int) -> None:
    """The channel can be used after it."""

    async def work(channel: Channel) -> None:
        answer = await channel.ask(path)
        assert answer is not None
        assert status == answer.status
        assert healthy() == await channel.ask("/healthz")

    run(work, healthz=healthy, broken=broken)


def test_a_late_answer_is_not_taken_for_another_s() -> None:
    """A request that was given up does not disturb the next one."""
    go = asyncio.Event()

    async def slow() -> Answer:
        await go.wait()
        return LARGE

    async def work(channel: Channel) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await channel.ask("/slow")
        go.set()
        assert healthy() == await channel.ask("/healthz")

    run(work, healthz=healthy, slow=slow)


def test_a_page_is_asked_for_once_at_a_time() -> None:
    """A worker that hangs has at most one request for each page, however often it is asked for."""
    requested, asked, go = [], asyncio.Event(), asyncio.Event()

    async def slow() -> Answer:
        requested.append(1)
        asked.set()
        await go.wait()
        return LARGE

    async def work(channel: Channel) -> None:
        requests = [asyncio.create_task(channel.ask("/slow")) for _ in range(5)]
        await asked.wait()
        go.set()
        assert [LARGE] * 5 == await asyncio.gather(*requests)
        assert [1] == requested

    run(work, slow=slow)


def test_the_end_of_a_worker_ends_the_waiting_for_it() -> None:
    """A request, also one that was sent before, gets no answer instead of waiting for ever."""

    async def work() -> None:
        ours, theirs = socket.socketpair()
        channel = await Channel.over(ours)
        waiting = asyncio.create_task(channel.ask("/healthz"))
        await asyncio.sleep(0)
        theirs.close()
        assert [None, None] == [await waiting, await channel.ask("/healthz")]
        await channel.close()

    asyncio.run(work())


def test_a_worker_learns_that_its_supervisor_has_ended() -> None:
    """The end of the channel calls ``orphaned``, once."""

    async def work() -> None:
        gone = asyncio.Event()
        async with asyncio.timeout(patient(20)), talking({}, gone.set) as channel:
            await channel.close()
            await gone.wait()

    asyncio.run(work())


def test_the_socket_is_not_inherited_further() -> None:
    """A program that a worker starts must not keep the channel open."""

    async def work() -> None:
        ours, theirs = socket.socketpair()
        number = os.dup(theirs.fileno())
        os.set_inheritable(number, True)
        theirs.close()
        async with answering(number, {}, lambda: None):
            assert not os.get_inheritable(number)
        ours.close()

    asyncio.run(work())
