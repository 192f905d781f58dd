"""The watchdog's process: receives heartbeats of one worker's event loop, and acts when they stop.

Invariant: imports nothing of the product, so that it starts fast and needs little memory. It ends with its worker,
because then its pipe is closed.
"""

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

BEAT = b"\x00"
STACK_SIGNAL = signal.SIGUSR2  # the worker then writes where each of its threads is into the pipe
MARK = "replaced-worker-"
STACK_SECONDS = 0.5  # how long to wait for the stacks
LONGEST_STACK = 20_000


def watch(pipe: int, pid: int, *, report_seconds: float, replace_seconds: float, folder: str) -> None:
    """Report missing heartbeats once, with the worker's stacks; kill the worker if they stay away.

    Returns when the worker has ended.
    """
    last_beat, reported_at, is_reported, stack = time.monotonic(), 0.0, False, b""
    while True:
        ready, _, _ = select.select([pipe], [], [], min(0.1, report_seconds / 4))
        if ready:
            received = os.read(pipe, 65_536)
            if not received:
                return
            if BEAT in received:
                if is_reported:
                    _log("info", "loop_resumed", pid, seconds=time.monotonic() - last_beat)
                last_beat, reported_at, is_reported, stack = time.monotonic(), 0.0, False, b""
            stack = (stack + received.replace(BEAT, b""))[:LONGEST_STACK]
        now = time.monotonic()
        silence = now - last_beat
        if silence > report_seconds and not reported_at:
            reported_at = now
            os.kill(pid, STACK_SIGNAL)
        if reported_at and not is_reported and now - reported_at > STACK_SECONDS:
            is_reported = True
            _log("error", "loop_blocked", pid, seconds=silence, stack=stack.decode(errors="replace"))
        if silence > replace_seconds:
            if folder:
                with suppress(OSError):
                    Path(folder, f"{MARK}{pid}").touch()
            _log("critical", "worker_replaced", pid, seconds=silence, stack=stack.decode(errors="replace"))
            os.kill(pid, signal.SIGKILL)
            return


def count_marks(folder: str) -> int:
    """How many workers were killed since the last call. Each is counted once."""
    taken = 0
    for mark in Path(folder).glob(f"{MARK}*") if folder else ():
        with suppress(FileNotFoundError):
            mark.unlink()
            taken += 1
    return taken


def _log(level: str, event: str, pid: int, *, seconds: float, stack: str = "") -> None:
    at = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")  # noqa: UP017 the interpreter may be any
    line = {"timestamp": at, "level": level, "event": event, "worker": pid, "seconds": round(seconds, 1)}
    print(json.dumps({**line, "stack": stack.splitlines()} if stack else line), file=sys.stderr, flush=True)


if __name__ == "__main__":
    with suppress(ProcessLookupError):
        watch(
            sys.stdin.fileno(),
            int(sys.argv[1]),
            report_seconds=float(sys.argv[2]),
            replace_seconds=float(sys.argv[3]),
            folder=sys.argv[4],
        )
