"""Child processes: each starts in its own session with a log, and ends with all its children.

Invariant: no child outlives this process. A stop ends the whole process group. If this process is killed, the kernel
sends the child its death signal (`setpriv --pdeathsig`). That signal depends on the calling thread: call `spawn` from a
thread that lives on.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.05


class MissingTool(Exception):
    """A program of the operating system is missing. The message names its package."""


@dataclass(slots=True)
class Child:
    """A running child and the end of its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the child, which ends its own workers in order."""
        if self.is_running:
            self.process.terminate()

    def end(self, *, within_seconds: float) -> None:
        """Wait for the child to stop, then kill what is left of its group."""
        deadline = time.monotonic() + within_seconds
        while self.is_running and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        end_group(self.process.pid)
        self.process.wait()

    def log_end(self, *, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    death_signal: signal.Signals = signal.SIGTERM,
    user: str | None = None,
    needs: Sequence[Path] = (),
    folder: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
    standard_input: bytes | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command whose output goes to `log`. Ctrl-C does not reach it: we stop it in order."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*privileges(user=user, needs=needs, death_signal=death_signal), *command],
            stdin=subprocess.PIPE if standard_input else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    if standard_input and process.stdin:
        process.stdin.write(standard_input)
        process.stdin.close()
    return process


def privileges(
    *, user: str | None = None, needs: Sequence[Path] = (), death_signal: signal.Signals | None = None
) -> list[str]:
    """The prefix of a command that runs as `user` (then we are root) and gets `death_signal` when we die.

    If other users cannot reach the paths in `needs`, as under /root, that user keeps one capability for it. The kernel
    ignores it in access(2), which PostgreSQL uses to find its programs, unless the secure bit is set.
    """
    options = []
    if death_signal:
        options.append(f"--pdeathsig={death_signal.name.removeprefix('SIG')}")
    if user is not None:
        options += [f"--reuid={user}", "--clear-groups"]
        if not all(_anyone_may_pass_to(path) for path in needs):
            capability = "+dac_override"
            options += ["--securebits=+no_setuid_fixup"]
            options += [f"--inh-caps={capability}", f"--ambient-caps={capability}"]
    setpriv = shutil.which("setpriv")
    if setpriv is None and user is not None:
        raise MissingTool("As root the embedded PostgreSQL needs `setpriv` (package util-linux).")
    return [setpriv, *options] if setpriv and options else []


def end_group(group: int) -> None:
    """Kill what is left of a process group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_gone(pid: int) -> bool:
    """Whether a process has ended, including a zombie that its parent has not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def _anyone_may_pass_to(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for shown in (path, path.resolve()) for folder in shown.parents)
