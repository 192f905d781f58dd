"""Applying a model's prices.

Invariant: the file has the whole list: a meter that is not in it loses its price, so that the
file and the bill never differ. Rows are not edited but superseded, and the past rates as it did.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils.timezone import now

from billing.models import PriceRow
from billing.prices.editing import set_price, supersede
from llm.configuration.changes import FieldChange, shown
from llm.configuration.document import Path
from llm.configuration.spec import ModelSpec, Prices
from llm.configuration.writer import Writer
from llm.models import Deployment, LanguageModel, Provider

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


class PricedAt(NamedTuple):
    """A model at an account, as price rows name them."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def apply_prices(spec: ModelSpec, *, row: LanguageModel, path: Path, writer: Writer) -> None:
    """Bring the list prices of a model to what the file says, at its own account and at those of its deployments.

    Without `prices` they stay; a deployment without any takes the model's. The word `list` takes the imported price of
    the upstream model at the provider's kind. Where that is not the model's own name and account the price is copied,
    and copied again by each later apply.
    """
    own = PricedAt(row.provider.name, row.name)
    _apply(
        spec.prices,
        own,
        listed=PricedAt(row.provider.kind, row.upstream),
        path=(*path, "prices"),
        writer=writer,
    )
    for index, deployment in enumerate(spec.deployments):
        provider = Provider.objects.get(name=deployment.provider)
        place, prices, prices_path = PricedAt(provider.name, row.name), spec.prices, (*path, "prices")
        listed = PricedAt(row.provider.kind, row.upstream)
        if deployment.prices is not None:
            prices, prices_path = deployment.prices, (*path, "deployments", index, "prices")
            listed = PricedAt(provider.kind, deployment.upstream or row.upstream)
        _apply(prices, place, listed=listed, path=prices_path, writer=writer)
        if prices is None and not _live(place):
            for price in _as_at(own, path=prices_path):
                _bring(price, None, place=place, writer=writer)


def price_as_the_model(deployment: Deployment) -> None:
    """Give an account that has no price for its model the prices that the model has at its own."""
    place = PricedAt(deployment.provider.name, deployment.model.name)
    if _live(place):
        return
    for price in _as_at(PricedAt(deployment.model.provider.name, deployment.model.name), path=()):
        _add(price, place=place, acting_user=None)


def _apply(prices: Prices | None, place: PricedAt, *, listed: PricedAt, path: Path, writer: Writer) -> None:
    if prices is None:
        return
    if prices == "list":
        wanted = _as_at(listed, path=path)
        if not wanted:
            raise writer.document.error(
                path, f"no list price of {listed} is imported (manage.py import_prices)"
            )
    else:
        source = writer.changes.source[-100:]
        wanted = [
            Wanted(price.identity(), price.usd_per_million, PER_MILLION, source, (*path, index))
            for index, price in enumerate(prices)
        ]
    current = _live(place)
    for price in wanted:
        _bring(price, current.pop(price.identity, None), place=place, writer=writer)
    for identity, stored in current.items():
        _end(stored)
        writer.changes.add("price", _name(place, identity), "updated", (_changed(_usd(stored), None),))


def _as_at(place: PricedAt, *, path: Path) -> list[Wanted]:
    """The prices that count at a place now, to be those of another one."""
    return [
        Wanted(identity, price.unit_price, price.per, price.source, path)
        for identity, price in _live(place).items()
    ]


def _bring(price: Wanted, stored: PriceRow | None, *, place: PricedAt, writer: Writer) -> None:
    name = _name(place, price.identity)
    if stored is not None and _usd(stored) == price.usd_per_million:
        writer.changes.add("price", name, "unchanged")
        return
    with writer.refusals(price.path):
        if stored is not None:
            unit_price = price.usd_per_million * stored.per / PER_MILLION
            set_price(stored, unit_price=unit_price, acting_user=writer.acting_user)
            writer.changes.add("price", name, "updated", (_changed(_usd(stored), price.usd_per_million),))
            return
        _add(price, place=place, acting_user=writer.acting_user)
    writer.changes.add("price", name, "created")


def _add(price: Wanted, *, place: PricedAt, acting_user: User | None) -> None:
    meter, processing, service_tier, region, above_input_tokens = price.identity
    added = PriceRow(
        provider=place.provider,
        model=place.model,
        meter=meter,
        processing=processing,
        service_tier=service_tier,
        region=region,
        above_input_tokens=above_input_tokens,
        unit_price=price.unit_price,
        per=price.per,
        valid_from=now(),
        source=price.source,
        approved_by_id=acting_user.pk if acting_user else None,
    )
    added.full_clean()
    added.save()


def _end(stored: PriceRow) -> None:
    # As a price changes: the row that holds for ever gives way to one that held until now.
    at = now()
    supersede(stored, at=at)
    stored.pk, stored.valid_to = None, at
    stored.save(force_insert=True)


def _live(place: PricedAt) -> dict[Identity, PriceRow]:
    at = now()
    rows = PriceRow.objects.filter(
        Q(valid_to__isnull=True) | Q(valid_to__gt=at),
        book=PriceRow.Book.LIST,
        provider=place.provider,
        model=place.model,
        superseded_at=None,
        valid_from__lte=at,
    )
    return {
        (price.meter, price.processing, price.service_tier, price.region, price.above_input_tokens): price
        for price in rows
    }


def _usd(stored: PriceRow) -> Decimal:
    per_million: Decimal = stored.unit_price * PER_MILLION / stored.per
    return per_million


def _changed(old: Decimal, new: Decimal | None) -> FieldChange:
    return FieldChange("usd_per_million", shown(old), shown(new))


def _name(place: PricedAt, identity: Identity) -> str:
    meter, processing, service_tier, region, above = identity
    extras = [word for word, usual in ((service_tier, "standard"), (region, "global")) if word != usual]
    extras += [f"above {above} input tokens"] if above else []
    return " ".join([str(place), meter, processing, *extras])
