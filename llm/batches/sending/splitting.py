"""Parts a batch's held lines into jobs: one model at one account each, within what its provider takes.

Invariant: a line gets its job in one transaction with all others that have none; a job that turns out too large is halved before
it is sent.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import uuid_utils
from django.db import transaction
from django.utils import timezone

from llm.batches.sending.retries import not_before
from llm.models import Batch, BatchItem, BatchJob, Lane, Provider
from llm.providers.kinds import KINDS
from llm.providers.kinds.batch_api import BatchLimits

ROWS: Final = 2_000  # read at a time
UNLIMITED: Final = BatchLimits(lines=1_000_000, bytes=10**12)


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What an account takes: in one job, and of tokens that are queued there for one model; 0: as many as there are."""

    job: BatchLimits
    queued_tokens: int = 0


class _Group(NamedTuple):
    provider: str
    model: str
    lane: str
    attempt_no: int


@dataclass(slots=True)
class _Filling:
    """A job that is being filled."""

    limits: AccountLimits
    items: list[int] = field(default_factory=list)
    tokens: int = 0
    size: int = 0

    def takes(self, *, tokens: int, size: int) -> bool:
        most = self.limits
        return not self.items or (
            len(self.items) < most.job.lines
            and self.size + size <= most.job.bytes
            and (not most.queued_tokens or self.tokens + tokens <= most.queued_tokens)
        )

    def add(self, pk: int, *, tokens: int, size: int) -> None:
        self.items.append(pk)
        self.tokens += tokens
        self.size += size


def split(batch: Batch) -> None:
    """Give every held line that has no job a job."""
    with transaction.atomic():
        filling: dict[_Group, _Filling] = {}
        limits: dict[str, AccountLimits] = {}
        waiting = batch.items.filter(status=BatchItem.Status.HELD, job=None, settled_at=None).order_by("line")
        names = ("pk", *_Group._fields, "size_tokens", "size_bytes")
        for pk, *group, tokens, size in waiting.values_list(*names).iterator(ROWS):
            key = _Group(*group)
            if key.provider not in limits:
                limits[key.provider] = limits_of(key.provider)
            is_online = key.lane == Lane.ONLINE
            most = AccountLimits(UNLIMITED) if is_online else limits[key.provider]
            current = filling.setdefault(key, _Filling(most))
            if not current.takes(tokens=tokens, size=size):
                _make_job(batch, key, current)
                current = filling[key] = _Filling(most)
            current.add(pk, tokens=tokens, size=size)
        for key, current in filling.items():
            _make_job(batch, key, current)


def halve(job: BatchJob) -> bool:
    """Move the second half of a job's lines into a job of its own; False where it has only one."""
    with transaction.atomic():
        rows = list(job.items.order_by("line").values_list("pk", "size_tokens"))
        if len(rows) < 2:
            return False
        moved = rows[len(rows) // 2 :]
        further = _Filling(
            AccountLimits(UNLIMITED), [pk for pk, _ in moved], sum(tokens for _, tokens in moved)
        )
        _make_job(job.batch, _Group(job.provider, job.model, job.lane, 1), further)
        job.line_count, job.input_tokens = len(rows) - len(moved), job.input_tokens - further.tokens
        job.save(update_fields=["line_count", "input_tokens"])
    return True


def limits_of(provider: str) -> AccountLimits:
    """What an account takes: as its provider publishes it, where its own limits do not say otherwise."""
    account = Provider.objects.filter(name=provider).first()
    if account is None:  # its jobs will say so
        return AccountLimits(UNLIMITED)
    published = KINDS[account.kind].batch_limits or UNLIMITED
    return AccountLimits(
        BatchLimits(
            lines=int(account.limits.get("batch_lines") or published.lines),
            bytes=int(account.limits.get("batch_bytes") or published.bytes),
        ),
        queued_tokens=int(account.limits.get("batch_tokens") or 0),
    )


def _make_job(batch: Batch, group: _Group, filled: _Filling) -> None:
    job = BatchJob.objects.create(
        public_id=f"job_{UUID(bytes=uuid_utils.uuid7().bytes).hex}",
        batch=batch,
        tenant_id=batch.tenant_id,
        provider=group.provider,
        model=group.model,
        lane=group.lane,
        line_count=len(filled.items),
        input_tokens=filled.tokens,
        next_look_at=not_before(group.attempt_no, now=timezone.now()),
    )
    for start in range(0, len(filled.items), ROWS):
        BatchItem.objects.filter(pk__in=filled.items[start : start + ROWS]).update(job=job)
