"""Applying a model's prices.

Invariant: a list of prices is the whole list: a meter that is not in it loses its price, so that the file
and the bill never differ. Rows are not edited but superseded.
"""

from decimal import Decimal

from django.db.models import Q
from django.utils.timezone import now

from billing.models import PriceRow
from billing.price_changes import set_price
from llm.configuration.changes import FieldChange, shown
from llm.configuration.document import Path
from llm.configuration.spec import ModelSpec, PriceSpec
from llm.configuration.writer import Writer
from llm.models import LanguageModel

PER_MILLION = 1_000_000
Identity = tuple[str, str, str, str, int]


def apply_prices(spec: ModelSpec, *, row: LanguageModel, path: Path, writer: Writer) -> None:
    """Bring the list prices of a model to what the file says; without `prices` they stay."""
    if spec.prices is None:
        return
    if spec.prices == "list":
        if not _current(row):
            raise writer.document.error(path, f"no list price of {row.provider.name}/{row.name} is imported")
        return
    current = _current(row)
    for index, price in enumerate(spec.prices):
        stored = current.pop(price.identity(), None)
        _apply_price(price, stored, row=row, path=(*path, index), writer=writer)
    for identity, stored in current.items():
        _end(stored)
        writer.changes.add("price", _name(row, identity), "updated", (_changed(_usd(stored), None),))


def _apply_price(
    price: PriceSpec, stored: PriceRow | None, *, row: LanguageModel, path: Path, writer: Writer
) -> None:
    name = _name(row, price.identity())
    if stored is not None and _usd(stored) == price.usd_per_million:
        writer.changes.add("price", name, "unchanged")
        return
    with writer.refusals(path):
        if stored is not None:
            unit_price = price.usd_per_million * stored.per / PER_MILLION
            set_price(stored, unit_price=unit_price, acting_user=writer.acting_user)
            writer.changes.add("price", name, "updated", (_changed(_usd(stored), price.usd_per_million),))
            return
        added = PriceRow(
            provider=row.provider.name,
            model=row.name,
            meter=price.meter,
            processing=price.processing,
            service_tier=price.service_tier,
            region=price.region,
            above_input_tokens=price.above_input_tokens,
            unit_price=price.usd_per_million,
            per=PER_MILLION,
            valid_from=now(),
            source=writer.changes.source[-100:],
            approved_by=writer.acting_user,
        )
        added.full_clean()
        added.save()
    writer.changes.add("price", name, "created")


def _end(stored: PriceRow) -> None:
    # As a price changes: the row that holds for ever gives way to one that held until now.
    at = now()
    PriceRow.objects.filter(pk=stored.pk).update(superseded_at=at)
    stored.pk, stored.valid_to = None, at
    stored.save(force_insert=True)


def _current(row: LanguageModel) -> dict[Identity, PriceRow]:
    at = now()
    rows = PriceRow.objects.filter(
        Q(valid_to__isnull=True) | Q(valid_to__gt=at),
        book="list",
        provider=row.provider.name,
        model=row.name,
        superseded_at=None,
        valid_from__lte=at,
    )
    return {
        (price.meter, price.processing, price.service_tier, price.region, price.above_input_tokens): price
        for price in rows
    }


def _usd(stored: PriceRow) -> Decimal:
    return stored.unit_price * PER_MILLION / stored.per


def _changed(old: Decimal, new: Decimal | None) -> FieldChange:
    return FieldChange("usd_per_million", shown(old), shown(new))


def _name(row: LanguageModel, identity: Identity) -> str:
    meter, processing, service_tier, region, above = identity
    extras = [word for word, usual in ((service_tier, "standard"), (region, "global")) if word != usual]
    extras += [f"above {above} input tokens"] if above else []
    return " ".join([f"{row.provider.name}/{row.name}", meter, processing, *extras])
