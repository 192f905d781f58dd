"""Applying a model's prices.

Invariant: what stands in the file is the whole list: a meter that is not in it loses its price, so that the
file and the bill never differ. Rows are not edited but superseded, and the past rates as it did.
"""

from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Q
from django.utils.timezone import now

from billing.models import PriceRow
from billing.price_changes import set_price
from llm.configuration.changes import FieldChange, shown
from llm.configuration.document import Path
from llm.configuration.spec import ModelSpec
from llm.configuration.writer import Writer
from llm.models import LanguageModel

PER_MILLION = 1_000_000
Identity = tuple[str, str, str, str, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A price as it should be: USD `unit_price` for `per` units."""

    identity: Identity
    unit_price: Decimal
    per: int
    source: str
    path: Path

    @property
    def usd_per_million(self) -> Decimal:
        return self.unit_price * PER_MILLION / self.per


def apply_prices(spec: ModelSpec, *, row: LanguageModel, path: Path, writer: Writer) -> None:
    """Bring the list prices of a model to what the file says; without `prices` they stay.

    The word `list` takes the imported price of the upstream model at the provider's kind. Where that is not
    the model's own name and account the price is copied, and copied anew by each later apply.
    """
    if spec.prices is None:
        return
    if spec.prices == "list":
        wanted = _imported(row, path=path, writer=writer)
    else:
        wanted = [
            Wanted(
                price.identity(),
                price.usd_per_million,
                PER_MILLION,
                writer.changes.source[-100:],
                (*path, index),
            )
            for index, price in enumerate(spec.prices)
        ]
    current = _live(row.provider.name, row.name)
    for price in wanted:
        _bring(price, current.pop(price.identity, None), row=row, writer=writer)
    for identity, stored in current.items():
        _end(stored)
        writer.changes.add("price", _name(row, identity), "updated", (_changed(_usd(stored), None),))


def _imported(row: LanguageModel, *, path: Path, writer: Writer) -> list[Wanted]:
    listed = _live(row.provider.kind, row.upstream)
    if not listed:
        raise writer.document.error(
            path, f"no list price of {row.provider.kind}/{row.upstream} is imported (manage.py import_prices)"
        )
    return [
        Wanted(identity, price.unit_price, price.per, price.source, path)
        for identity, price in listed.items()
    ]


def _bring(price: Wanted, stored: PriceRow | None, *, row: LanguageModel, writer: Writer) -> None:
    name = _name(row, price.identity)
    if stored is not None and _usd(stored) == price.usd_per_million:
        writer.changes.add("price", name, "unchanged")
        return
    with writer.refusals(price.path):
        if stored is not None:
            unit_price = price.usd_per_million * stored.per / PER_MILLION
            set_price(stored, unit_price=unit_price, acting_user=writer.acting_user)
            writer.changes.add("price", name, "updated", (_changed(_usd(stored), price.usd_per_million),))
            return
        meter, processing, service_tier, region, above_input_tokens = price.identity
        added = PriceRow(
            provider=row.provider.name,
            model=row.name,
            meter=meter,
            processing=processing,
            service_tier=service_tier,
            region=region,
            above_input_tokens=above_input_tokens,
            unit_price=price.unit_price,
            per=price.per,
            valid_from=now(),
            source=price.source,
            approved_by_id=writer.acting_user.pk if writer.acting_user else None,
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


def _live(provider: str, model: str) -> dict[Identity, PriceRow]:
    at = now()
    rows = PriceRow.objects.filter(
        Q(valid_to__isnull=True) | Q(valid_to__gt=at),
        book=PriceRow.Book.LIST,
        provider=provider,
        model=model,
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
