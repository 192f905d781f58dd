"""Where a Python process spends its time, by py-spy, in a table of functions.

Invariant: py-spy has an environment of its own under `.bench`; the product is not changed by being profiled. A profile is
taken in a run of its own, because it slows the process down.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.servers import ROOT

TOOLS = ROOT / ".bench" / "tools"
FOLDER = ROOT / ".bench" / "profiles"
SAMPLES_PER_SECOND = 200
SHOWN = 45
OURS = ("config", "tenants", "billing", "caching", "llm")


@dataclass(slots=True)
class Profile:
    """A recording that runs in the background until its time is over."""

    process: subprocess.Popen[bytes]
    folded: Path

    def table(self) -> str:
        """Wait for the end of the recording; its table."""
        self.process.wait(timeout=60)
        return table_of(self.folded.read_text().splitlines())


def start(pid: int, *, name: str, seconds: float) -> Profile:
    """Record the process for so long. The stacks are left in `.bench/profiles`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    folded = FOLDER / f"{name}.folded"
    options = ["--pid", str(pid), "--duration", str(round(seconds)), "--rate", str(SAMPLES_PER_SECOND)]
    command = [_py_spy(), "record", *options, "--gil", "--format", "raw", "--function"]
    command += ["--output", str(folded)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Profile(process, folded)


def table_of(stacks: Iterable[str]) -> str:
    """Shares of the samples: by package, by function, and by function with all that it calls.

    A stack is `outer;inner count`. What every stack has is left out.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack in stacks:
        names, _, count = stack.rpartition(" ")
        frames = [frame for frame in names.split(";") if frame]
        if frames:
            own[frames[-1]] += int(count)
            for frame in set(frames):
                whole[frame] += int(count)
    samples = sum(own.values()) or 1
    packages: Counter[str] = Counter()
    for frame, count in own.items():
        packages[_package(frame)] += count
    whole = Counter({frame: count for frame, count in whole.items() if count < samples})
    lines = [f"{samples} samples with the interpreter's lock held, {SAMPLES_PER_SECOND} a second"]
    for title, counted in (("packages", packages), ("functions", own), ("with all that they call", whole)):
        lines += ["", title]
        lines += [f"{count / samples:7.1%}  {name}" for name, count in counted.most_common(SHOWN)]
    return "\n".join(lines) + "\n"


def _package(frame: str) -> str:
    """`name (redis/client.py:9)` is of redis; a module of ours keeps two levels."""
    path = frame.rpartition("(")[2].rpartition(":")[0]
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] in OURS else parts[0]


def _py_spy() -> str:
    """The program, installed the first time."""
    program = TOOLS / "bin" / "py-spy"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(TOOLS)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "py-spy"]
        subprocess.run([str(TOOLS / "bin" / "python"), *install], check=True)
    return str(program)
