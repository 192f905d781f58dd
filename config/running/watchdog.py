"""The watchdog of a web worker: a separate process that reports a blocked event loop and kills its worker.

Invariant: it detects every cause from outside the worker: a C function that holds the interpreter lock, or a stopped
process. Granian replaces a killed worker. Only the web workers are watched.
"""

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from django.conf import settings
from prometheus_client import Counter

from config.running import watching

STALLED = Counter("purser_loop_stalls_total", "Times that an event loop was blocked and went on")
REPLACED = Counter("purser_workers_replaced_total", "Web workers killed because their event loop was blocked")
BEATS_A_REPORT = 4  # beats within the time after which silence is reported
LONGEST_BEAT_SECONDS = 0.5


@asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """Watch the running loop; off if LOOP_REPLACE_SECONDS is 0."""
    if not settings.LOOP_REPLACE_SECONDS:
        yield
        return
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    REPLACED.inc(watching.count_marks(folder))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen(  # noqa: ASYNC220 once, and a few milliseconds
        [
            *(sys.executable, "-I", "-S", str(Path(watching.__file__))),
            *(
                str(os.getpid()),
                str(settings.LOOP_REPORT_SECONDS),
                str(settings.LOOP_REPLACE_SECONDS),
                folder,
            ),
        ],
        stdin=reader,
        start_new_session=True,  # a Ctrl-C is for the worker, which ends it by closing the pipe
    )
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        faulthandler.register(watching.STACK_SIGNAL, file=pipe, all_threads=True)
        heartbeats = asyncio.create_task(_beat(pipe.fileno()))
        try:
            yield
        finally:
            heartbeats.cancel()
            faulthandler.unregister(watching.STACK_SIGNAL)
            signal.signal(watching.STACK_SIGNAL, signal.SIG_IGN)
    await asyncio.to_thread(process.wait)  # it ends when the pipe is closed


async def _beat(pipe: int) -> None:
    interval = min(settings.LOOP_REPORT_SECONDS / BEATS_A_REPORT, LONGEST_BEAT_SECONDS)
    while True:
        try:
            os.write(pipe, watching.BEAT)
        except BlockingIOError:
            pass  # the watchdog does not read at the moment
        except BrokenPipeError:
            return  # the watchdog has ended: the worker goes on
        before = time.monotonic()
        await asyncio.sleep(interval)
        if time.monotonic() - before > settings.LOOP_REPORT_SECONDS:
            STALLED.inc()
