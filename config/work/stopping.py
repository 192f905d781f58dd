"""Whether this worker was asked to stop, as all its processes know it: work that could go on for long then ends early.

Invariant: one byte of shared memory for each worker, made before its processes are forked.
"""

import mmap

from celery.signals import worker_shutting_down

_asked = mmap.mmap(-1, 1)


def is_asked() -> bool:
    """Whether to begin nothing more."""
    return bool(_asked[0])


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def ask(**_: object) -> None:
    """Have the worker's processes come to an end."""
    _asked[0] = 1


def begin() -> None:
    """Have a byte of our own. Called in a worker that was forked, before it forks its processes."""
    global _asked
    _asked = mmap.mmap(-1, 1)
