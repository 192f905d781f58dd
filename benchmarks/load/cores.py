"""Which core is the gateway's and which are everybody else's.

Invariant: the gateway has one core for itself; stores, upstream, load generator and this process share the others. Where
there is one core only, a comparison would measure the load generator: we refuse.
"""

import os


class TooFewCores(Exception):
    """This machine cannot keep the gateway apart from its load."""


def of_gateway() -> list[int]:
    """The last of the cores that we may use."""
    cores = every()
    if len(cores) < 2:
        raise TooFewCores("the gateway needs a core for itself, and its load another: 2 cores at least")
    return cores[-1:]


def of_the_rest() -> list[int]:
    return every()[:-1]


def keep_to_the_rest() -> None:
    """Keep this process, and all that it will start, off the gateway's core."""
    every()
    os.sched_setaffinity(0, of_the_rest())


def on_gateway_core(command: list[str], *, cores: list[int] | None = None) -> list[str]:
    """The command, run on the gateway's core."""
    return ["taskset", "--cpu-list", ",".join(map(str, cores or of_gateway())), *command]


def every() -> list[int]:
    """The cores that this process had at first."""
    _found.update(_found or os.sched_getaffinity(0))
    return sorted(_found)


_found: set[int] = set()
