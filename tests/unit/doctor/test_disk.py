"""Blocking questions of the doctor, on threads of their own."""

import asyncio
import threading

from handler.doctor.disk import in_time


def test_an_answer_after_ctrl_c_is_no_traceback() -> None:
    """Ctrl-C cancels the caller while a disk hangs; the thread's late answer has no reader."""
    asked, answer = threading.Event(), threading.Event()

    def hangs() -> None:
        asked.set()
        answer.wait()

    async def cancelled() -> None:
        caller = asyncio.create_task(in_time(hangs))
        await asyncio.to_thread(asked.wait)
        caller.cancel()
        await asyncio.wait({caller})

    asyncio.run(cancelled())
    [thread] = [each for each in threading.enumerate() if each.name == "doctor-disk"]
    answer.set()
    thread.join()
