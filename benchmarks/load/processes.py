"""What processes use: CPU seconds and memory, by the kernel's own accounting.

Invariant: a tree is a process and all its descendants. The CPU of a child that has ended and was waited for is kept by its
parent, so a tree's figure never falls.
"""

import os
import re
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(*roots: int) -> float:
    """The CPU that the trees have used since they began, user and system."""
    return sum(_cpu_seconds_of(stat(pid)) for root in roots for pid in tree(root))


def own_cpu_seconds(pid: int) -> float:
    """The CPU of one process, without its children."""
    return sum(map(int, stat(pid)[11:13])) / TICKS_PER_SECOND


def rss_bytes(pid: int) -> int:
    """The resident memory of one process."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", _text(f"/proc/{pid}/status"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def tree(root: int) -> list[int]:
    """The process and its descendants."""
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*"):
            todo += map(int, _text(task / "children").split())
    return found


def web_workers(root: int) -> list[int]:
    """The processes of a granian server that serve calls."""
    children = map(int, _text(f"/proc/{root}/task/{root}/children").split())
    return [pid for pid in children if "resource_tracker" not in _text(f"/proc/{pid}/cmdline")]


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name; none for a process that has ended."""
    return _text(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _cpu_seconds_of(fields: list[str]) -> float:
    """utime, stime, and those of the children that were waited for."""
    return sum(map(int, fields[11:15])) / TICKS_PER_SECOND


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
