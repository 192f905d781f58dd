"""Imports list prices into our own table.

Invariant: a model without prices gets its list prices immediately; what would change a price in force
waits for a person, as a proposal with the exact changes. Importing the same list twice changes nothing, and no
row's past is touched: a new rate counts from its approval at the earliest.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.timezone import now

from billing.models import PriceProposal, PriceRow
from billing.prices.editing import set_price, supersede
from billing.prices.lists import ListPrice, digest_of, read_list_prices, source_name

BATCH = 2000
# Importing and approving are one at a time: two of them would propose the same twice.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('billing.price_import'))"

SENTINEL = "price sentinel"  # the source of what bills imply
Status = PriceProposal.Status
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PriceChange:
    """Another rate for what has one. `old` is None for a meter the model had no price for, `new` for one that
    the list does not have any more."""

    old: ListPrice | None
    new: ListPrice | None

    @property
    def price(self) -> ListPrice:
        price = self.new or self.old
        assert price is not None
        return price

    def __str__(self) -> str:
        price = self.price
        context = " ".join(word for word in (price.processing, price.service_tier) if word != "standard")
        above = f" above {price.above_input_tokens} input tokens" if price.above_input_tokens else ""
        old, new = (f"{side.unit_price.normalize():f}" if side else "none" for side in (self.old, self.new))
        return f"{price.provider}/{price.model} {price.meter} {context}{above}: {old} -> {new} USD per {price.per}"


@dataclass(frozen=True, slots=True)
class PriceChanges:
    """A list against our table: the rows of models that are new to it, and what would change."""

    added: tuple[ListPrice, ...]
    changed: tuple[PriceChange, ...]

    @property
    def added_models(self) -> list[str]:
        return sorted({f"{price.provider}/{price.model}" for price in self.added})


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. `proposal` is what waits for a person, None if nothing does."""

    digest: str
    difference: PriceChanges
    proposal: PriceProposal | None
    is_new_proposal: bool = False


def compare(prices: Sequence[ListPrice], *, at: datetime) -> PriceChanges:
    """What a list says that our list book does not, from `at` on: one query."""
    live = _live_rows()
    known_models = {identity[:2] for identity in live}
    listed: dict[tuple[object, ...], list[ListPrice]] = defaultdict(list)
    for price in prices:
        listed[price.identity].append(price)
    added: list[ListPrice] = []
    changed: list[PriceChange] = []
    for identity, spans in listed.items():
        if identity[:2] not in known_models:
            added += spans
            continue
        old, new = _at(live.get(identity, []), at), _at(spans, at)
        if new is not None and (old is None or old.unit_price * new.per != new.unit_price * old.per):
            changed.append(PriceChange(old, new))
    listed_models = {identity[:2] for identity in listed}
    for identity, rows in live.items():
        old = _at(rows, at)
        if old is not None and identity not in listed and identity[:2] in listed_models:
            changed.append(PriceChange(old, None))
    return PriceChanges(tuple(added), tuple(sorted(changed, key=str)))


@transaction.atomic
def import_list_prices(*, providers: Iterable[str] = (), is_dry_run: bool = False) -> Imported:
    """Add the prices of new models, and propose what would change others. One transaction."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
    prices = read_list_prices(providers)
    at, digest = now(), digest_of(prices)
    difference = compare(prices, at=at)
    if is_dry_run:
        return Imported(digest, difference, None)
    if difference.added:
        _insert(difference.added, source_digest=digest, approved_by=None)
        PriceProposal.objects.create(
            source=source_name(),
            digest=digest,
            status=Status.APPLIED,
            diff={"rows": len(difference.added), "models": difference.added_models},
            decided_at=at,
        )
        log.info("prices_imported", models=len(difference.added_models), rows=len(difference.added))
    if not difference.changed:
        return Imported(digest, difference, None)
    diff = {"changes": [_to_json(change) for change in difference.changed]}
    change_digest = digest_of(change.price for change in difference.changed)
    known = PriceProposal.objects.filter(
        digest=change_digest, status__in=(Status.PROPOSED, Status.REJECTED)
    ).first()
    if known is not None:  # asked before; a person said no, or has not said anything yet
        return Imported(digest, difference, known)
    proposal = PriceProposal.objects.create(source=source_name(), digest=change_digest, diff=diff)
    log.warning("prices_proposed", proposal=proposal.pk, changes=len(difference.changed))
    return Imported(digest, difference, proposal, is_new_proposal=True)


@transaction.atomic
def approve_proposal(proposal: PriceProposal, *, acting_user: User | None) -> PriceProposal:
    """Have a proposal's rates count from now on; what the sentinel inferred, since the day that it says.

    Raises ValidationError unless it still waits, or if a rate was changed since it was proposed.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
    waiting = _waiting(proposal)
    at = now()
    if waiting.source == SENTINEL:
        _set_inferred(waiting, acting_user=acting_user)
        return _decide(waiting, Status.APPLIED, acting_user, at)
    for data in waiting.diff["changes"]:
        change = _from_json(data)
        _end(change.price, at=at)
        if change.new is not None:
            new = replace(change.new, valid_from=max(at, change.new.valid_from))
            _insert([new], source_digest=waiting.digest, approved_by=acting_user)
    return _decide(waiting, Status.APPLIED, acting_user, at)


@transaction.atomic
def reject_proposal(proposal: PriceProposal, *, acting_user: User | None) -> PriceProposal:
    """Keep our rates; the same changes are not proposed again. Raises ValidationError unless it still waits."""
    return _decide(_waiting(proposal), Status.REJECTED, acting_user, now())


def changes_of(proposal: PriceProposal) -> list[PriceChange]:
    """What a proposal would change."""
    return [_from_json(data) for data in proposal.diff.get("changes", ())]


def as_list_price(row: PriceRow) -> ListPrice:
    """A row as proposals show it."""
    return ListPrice(**{name: getattr(row, name) for name in ListPrice.__dataclass_fields__})


def _set_inferred(proposal: PriceProposal, *, acting_user: User | None) -> None:
    """A backdated price: the re-rating of what was billed since is proposed by itself."""
    since = datetime.fromisoformat(proposal.diff["since"])
    for one in proposal.diff["rows"]:
        row = PriceRow.objects.get(pk=one["price"])
        set_price(
            row,
            unit_price=Decimal(one["unit_price"]),
            valid_from=max(since, row.valid_from),
            acting_user=acting_user,
        )


def _live_rows() -> dict[tuple[object, ...], list[ListPrice]]:
    rows: dict[tuple[object, ...], list[ListPrice]] = defaultdict(list)
    fields = (
        *("provider", "model", "meter", "processing", "service_tier", "above_input_tokens"),
        *("unit_price", "per", "valid_from", "valid_to"),
    )
    live = PriceRow.objects.filter(book=PriceRow.Book.LIST, region="global", superseded_at=None)
    for values in live.order_by().values_list(*fields).iterator(chunk_size=BATCH):
        price = ListPrice(*values)
        rows[price.identity].append(price)
    return rows


def _at(spans: Iterable[ListPrice], at: datetime) -> ListPrice | None:
    return next(
        (span for span in spans if span.valid_from <= at and (span.valid_to is None or at < span.valid_to)),
        None,
    )


def _insert(prices: Iterable[ListPrice], *, source_digest: str, approved_by: User | None) -> None:
    PriceRow.objects.bulk_create(
        [
            PriceRow(
                provider=price.provider,
                model=price.model,
                meter=price.meter,
                processing=price.processing,
                service_tier=price.service_tier,
                above_input_tokens=price.above_input_tokens,
                unit_price=price.unit_price,
                per=price.per,
                valid_from=price.valid_from,
                valid_to=price.valid_to,
                source=source_name(),
                source_digest=source_digest,
                approved_by=approved_by,
            )
            for price in prices
        ],
        batch_size=BATCH,
    )


def _end(price: ListPrice, *, at: datetime) -> None:
    """Supersede the row that prices this now, and keep what it said of the time before."""
    rows = PriceRow.objects.select_for_update().filter(
        book=PriceRow.Book.LIST,
        provider=price.provider,
        model=price.model,
        meter=price.meter,
        processing=price.processing,
        service_tier=price.service_tier,
        region="global",
        above_input_tokens=price.above_input_tokens,
        superseded_at=None,
    )
    for row in rows:
        if row.valid_to is not None and row.valid_to <= at:
            continue
        supersede(row, at=at)
        if row.valid_from < at:
            row.pk, row.valid_to, row.superseded_at, row.recorded_at = None, at, None, at
            row.save(force_insert=True)


def _waiting(proposal: PriceProposal) -> PriceProposal:
    locked = PriceProposal.objects.select_for_update().get(pk=proposal.pk)
    if locked.status != Status.PROPOSED:
        raise ValidationError(f"this proposal is {locked.get_status_display()} already")
    return locked


def _decide(proposal: PriceProposal, status: str, acting_user: User | None, at: datetime) -> PriceProposal:
    proposal.status, proposal.decided_by, proposal.decided_at = status, acting_user, at
    proposal.save(update_fields=["status", "decided_by", "decided_at"])
    return proposal


def _to_json(change: PriceChange) -> dict[str, object]:
    return {
        "text": str(change),
        "old": change.old and change.old.to_json(),
        "new": change.new and change.new.to_json(),
    }


def _from_json(data: dict[str, Any]) -> PriceChange:
    old, new = (ListPrice.from_json(data[side]) if data[side] else None for side in ("old", "new"))
    return PriceChange(old, new)
