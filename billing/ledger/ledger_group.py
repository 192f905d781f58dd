"""The one group of a process: whatever waits for the ledger goes to PostgreSQL in one statement.

It owns the statement and the sharing out of its row; each kind of request owns its parameters and its replies. Invariant: every
kind's part is safe to repeat, and a request that fails, fails alone.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.errors import NoDataFound, ObjectNotInPrerequisiteState

from billing.budgets.balances import Balance
from billing.errors import LedgerUnavailable, Stalled
from billing.ledger import connection
from billing.ledger.group_commit import GroupCommit
from billing.ledger.seen_balances import read_balances
from billing.ledger.window_ids import forget_ids
from config import resources

Request = TypeVar("Request")
Reply = TypeVar("Reply")

COMMIT = "billing_commit_group"
WINDOWS = "windows::text"
# goes the way of all kinds with nothing to do: an attempt that nobody knows ends
FIRST = (
    f"SELECT {WINDOWS} FROM {COMMIT}(p_settled => ARRAY[gen_random_uuid()], p_states => '{{captured}}', p_usd => '{{0}}',"
    " p_tokens => '{0}', p_records => '[{}]', p_voided => ARRAY[gen_random_uuid()], p_reasons => '{none}', p_hits => '[]',"
    " p_attempts => '[]')"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the statement said: its columns by name, and the balances of all windows by id."""

    columns: dict[str, Any]
    balances: dict[int, Balance]

    def balances_of(self, window_ids: Iterable[int]) -> list[Balance]:
        return [self.balances[window_id] for window_id in window_ids if window_id in self.balances]


@dataclass(frozen=True, slots=True)
class Part(Generic[Reply]):
    """A kind's share of a statement: its parameters, and how its replies are read."""

    parameters: tuple[Any, ...]
    read: Callable[[Outcome], Sequence[Reply | Exception]]


@dataclass(frozen=True, eq=False)
class Kind(Generic[Request, Reply]):
    """A kind of request: the parameters (name and type) it fills of a function, the columns it reads, and its part.

    Of equal requests, by `key`, the first counts, as it would in two groups. One that rides (`rides`) starts no group. What
    PostgreSQL is away for, or what stalls, is tried again for `patience_seconds`; what is given up is told `when_lost`.
    """

    parameters: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    write: Callable[[list[Request]], Awaitable[Part[Reply]]]
    key: Callable[[Request], object] = id
    function: str = COMMIT
    rides: bool = False
    patience_seconds: float = 0
    when_lost: Callable[[list[Request]], None] = field(default=lambda _: None)

    async def submit(self, request: Request) -> Reply:
        """Execute a request with the next group; see `GroupCommit`."""
        reply: Reply = await _group.submit((self, request), rides=self.rides)
        return reply


_Entry = tuple[Kind[Any, Any], Any]


async def execute(entries: list[_Entry]) -> list[Any]:
    """Execute requests in one statement; a reply or an exception for each. Raises LedgerUnavailable and Stalled, and
    psycopg.Error for what one of them is at fault of."""
    by_kind: dict[Kind[Any, Any], dict[object, Any]] = {}
    for kind, request in entries:
        by_kind.setdefault(kind, {}).setdefault(kind.key(request), request)
    requests = {kind: list(distinct.values()) for kind, distinct in by_kind.items()}
    try:
        replies = await _commit(requests)
    except Stalled:  # nothing of it was done
        raise
    except LedgerUnavailable:  # the commit's answer may be what was lost
        for kind, lost in requests.items():
            kind.when_lost(lost)
        raise
    reply_of = {kind: dict(zip(distinct, replies[kind], strict=True)) for kind, distinct in by_kind.items()}
    return [reply_of[kind][kind.key(request)] for kind, request in entries]


async def _commit(requests: dict[Kind[Any, Any], list[Any]]) -> dict[Kind[Any, Any], Sequence[Any]]:
    try:
        return await connection.twice(lambda: _commit_once(requests))
    except NoDataFound:  # a window is gone with its budget
        forget_ids()
        return await connection.twice(lambda: _commit_once(requests))


async def _commit_once(requests: dict[Kind[Any, Any], list[Any]]) -> dict[Kind[Any, Any], Sequence[Any]]:
    parts = {kind: await kind.write(its) for kind, its in requests.items()}
    kinds = tuple(sorted(parts, key=_place))
    parameters = tuple(value for kind in kinds for value in parts[kind].parameters)
    try:
        values = await connection.call(_statement(kinds), parameters)
    except ObjectNotInPrerequisiteState:  # the shard of a window has no room
        values = await connection.call(_statement(kinds, all_shards=True), parameters)
    row = dict(zip(_columns(kinds), values, strict=True))
    balances = read_balances(row[WINDOWS]) if WINDOWS in row else {}
    outcome = Outcome(row, balances)
    return {kind: part.read(outcome) for kind, part in parts.items()}


def _place(kind: Kind[Any, Any]) -> tuple[object, ...]:
    """One order, so that there are few statements to prepare. Other functions are called before windows are locked."""
    return kind.function == COMMIT, kind.function, kind.parameters


@lru_cache(maxsize=256)
def _statement(kinds: tuple[Kind[Any, Any], ...], *, all_shards: bool = False) -> str:
    functions: dict[str, list[str]] = {}
    for kind in kinds:
        values = [f"{name} => %s::{type_}" for name, type_ in kind.parameters]
        functions.setdefault(kind.function, []).extend(values)
    if all_shards:
        functions[COMMIT].append("p_all_shards => true")
    calls = ", ".join(f"{name}({', '.join(values)})" for name, values in functions.items())
    return f"SELECT {', '.join(_columns(kinds))} FROM {calls}"


@lru_cache(maxsize=256)
def _columns(kinds: tuple[Kind[Any, Any], ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column for kind in kinds for column in kind.columns))


resources.first_statement(FIRST)
_group: GroupCommit[_Entry, Any] = GroupCommit(
    execute,
    max_size=128,
    apart_on=(psycopg.Error,),
    patience_of=lambda entry: entry[0].patience_seconds,
)
