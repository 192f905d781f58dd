"""What a unit of each meter costs, looked up without a database.

Invariant: pure and immutable but for `load_price_book`, and no model is imported with it. A model is priced by
its own name, never by a prefix; a meter is priced by a row of its own, and where there is none it is an error,
never zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.apps import apps
from django.db.models import Count, Max, Q

from billing.errors import ModelUnpriced, UnpricedMeter
from billing.money import EXACT, NINE_PLACES
from billing.prices.plans import RateRule, RuleKind, unit_price_of

STANDARD, ONLINE, GLOBAL = "standard", "online", "global"
LIST, COST, CONTRACT = "list", "cost", "contract"
# A row of this meter multiplies the price of every token meter of its context: data residency is the one
# surcharge that providers state as a factor.
SURCHARGE: Final = "token_multiplier"
# Cheaper than online: a meter they do not mention keeps its online price. Higher ones get no such guess.
CHEAPER_PROCESSING = frozenset({"batch", "flex"})
EVER_SINCE = datetime.min.replace(tzinfo=UTC)
FOR_EVER = datetime.max.replace(tzinfo=UTC)
_lists: dict[tuple[object, ...], dict[tuple[str, str], tuple["Price", ...]]] = {}


@dataclass(frozen=True, slots=True)
class Price:
    """One price row: USD `unit_price` for `per` units, from `valid_from` until before `valid_to`."""

    meter: str
    unit_price: Decimal
    per: int = 1_000_000
    price_id: int | None = None
    processing: str = ONLINE
    service_tier: str = STANDARD
    region: str = GLOBAL
    above_input_tokens: int = 0
    valid_from: datetime = EVER_SINCE
    valid_to: datetime | None = None
    book: str = LIST

    def holds(self, at: datetime) -> bool:
        """Whether the price counts at a moment."""
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)


@dataclass(frozen=True, slots=True)
class MeterPrice:
    """The prices of one meter: the provider's list, what the tenant pays, what we pay."""

    above_input_tokens: int
    listed: Price
    billed: Price
    cost: Price


@dataclass(frozen=True, slots=True)
class Rates:
    """The prices of one model in one context at one time. `meters` lists each meter's tiers, highest first."""

    provider: str
    model: str
    meters: Mapping[str, tuple[MeterPrice, ...]]
    token_multiplier: Decimal = Decimal(1)
    processing: str = ONLINE

    def price(self, meter: str, *, input_tokens: int) -> MeterPrice:
        """The meter's price for a request of that many input tokens in all; raises UnpricedMeter.

        A tier is a cliff: above its threshold (strictly) it prices the whole request.
        """
        for tier in self.meters.get(meter, ()):
            if input_tokens > tier.above_input_tokens or tier.above_input_tokens == 0:
                return tier
        raise UnpricedMeter(f"{self.provider}/{self.model} has no {self.processing} price for {meter}")


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices that concern one tenant: the lists, our costs, its contract, and the rules of its rate plan."""

    rows: Mapping[tuple[str, str], tuple[Price, ...]]
    rules: tuple[RateRule, ...] = ()  # by priority
    # (context) -> rates and until when no row begins or ends; filled as asked, never wrong, so not part of the value
    _seen: dict[tuple[str, str, str, str, str], tuple[datetime, datetime, Rates]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def rates(
        self,
        provider: str,
        model: str,
        *,
        at: datetime,
        processing: str = ONLINE,
        service_tier: str = STANDARD,
        region: str = GLOBAL,
    ) -> Rates:
        """The rates of a model in a context at a moment; raises ModelUnpriced. About a microsecond when known."""
        key = (provider, model, processing, service_tier, region)
        seen = self._seen.get(key)
        if seen is not None and seen[0] <= at < seen[1]:
            return seen[2]
        rows = self.rows.get((provider, model), ())
        rates = rates_of(
            [row for row in rows if row.holds(at)],
            provider=provider,
            model=model,
            processing=processing,
            service_tier=service_tier,
            region=region,
            rules=[rule for rule in self.rules if rule.holds(at)],
        )
        spans: tuple[Price | RateRule, ...] = (*rows, *self.rules)
        edges = [edge for span in spans for edge in (span.valid_from, span.valid_to) if edge is not None]
        since = max((edge for edge in edges if edge <= at), default=at)
        until = min((edge for edge in edges if edge > at), default=FOR_EVER)
        self._seen[key] = (since, until, rates)
        return rates

    def has(self, provider: str, model: str, *, service_tier: str = "", region: str = "") -> bool:
        """Whether any row of a model is of that tier, or region."""
        rows = self.rows.get((provider, model), ())
        return any((service_tier, region) in ((row.service_tier, ""), ("", row.region)) for row in rows)

    def regions(self, provider: str, model: str) -> frozenset[str]:
        """Where a model has prices of its own; the global ones always."""
        rows = self.rows.get((provider, model), ())
        return frozenset(row.region for row in rows) | {GLOBAL}


def rates_of(
    rows: Iterable[Price],
    *,
    provider: str,
    model: str,
    processing: str = ONLINE,
    service_tier: str = STANDARD,
    region: str = GLOBAL,
    rules: Sequence[RateRule] = (),
) -> Rates:
    """The rates that live rows of one model make in a context; raises ModelUnpriced if none is of it.

    A row of the tenant's contract prices its meter. Where there is none, the first of `rules` that names the
    meter turns the list price into the tenant's; without one the tenant pays the list price.
    """
    wanted = [row for row in rows if _fits(row, processing, service_tier, region)]
    if not any(row.processing == processing and row.book != COST for row in wanted):
        how = "" if processing == ONLINE else f" for {processing} processing"
        raise ModelUnpriced(f"The model '{model}' of {provider} has no price{how}.", param="model")
    best: dict[tuple[str, int, str], Price] = {}
    for row in wanted:
        key = (row.meter, row.above_input_tokens, row.book)
        if key not in best or _closeness(row) > _closeness(best[key]):
            best[key] = row
    meters: dict[str, list[MeterPrice]] = {}
    multiplier = Decimal(1)
    for meter, above in sorted({(meter, above) for meter, above, book in best if book != COST}, reverse=True):
        contract = best.get((meter, above, CONTRACT))
        listed = best.get((meter, above, LIST), contract)
        assert listed is not None
        if meter == SURCHARGE:
            multiplier = (contract or listed).unit_price
            continue
        billed = contract or _by_rules(listed, rules, provider=provider, model=model, processing=processing)
        cost = best.get((meter, above, COST), listed)
        meters.setdefault(meter, []).append(MeterPrice(above, listed, billed, cost))
    return Rates(
        provider, model, {name: tuple(tiers) for name, tiers in meters.items()}, multiplier, processing
    )


def load_price_book(tenant_id: int) -> PriceBook:
    """Read the live rows that concern a tenant. The lists, which all tenants share, are kept until they change."""
    price_rows = apps.get_model("billing", "PriceRow").objects
    shared = price_rows.filter(tenant=None)
    state = shared.aggregate(
        last=Max("pk"), superseded=Max("superseded_at"), live=Count("pk", filter=Q(superseded_at=None))
    )
    version = state["last"], state["superseded"], state["live"]
    if version not in _lists:
        rows = _read(shared.filter(superseded_at=None))
        _lists.clear()
        _lists[version] = rows
    rows = _lists[version]
    own = _read(price_rows.filter(tenant_id=tenant_id, superseded_at=None))
    if own:
        rows = rows | {key: rows.get(key, ()) + prices for key, prices in own.items()}
    return PriceBook(rows, _read_rules(tenant_id))


def _read(rows: Any) -> dict[tuple[str, str], tuple[Price, ...]]:
    found: dict[tuple[str, str], list[Price]] = {}
    fields = (
        *("provider", "model", "meter", "unit_price", "per", "pk", "processing", "service_tier", "region"),
        *("above_input_tokens", "valid_from", "valid_to", "book"),
    )
    for provider, model, *price in rows.order_by().values_list(*fields):
        found.setdefault((provider, model), []).append(Price(*price))
    return {key: tuple(prices) for key, prices in found.items()}


def _read_rules(tenant_id: int) -> tuple[RateRule, ...]:
    """All rules of a tenant, those that have ended too: what was rated under them can be rated again."""
    rules = apps.get_model("billing", "RateRule").objects.filter(tenant_id=tenant_id)
    fields = ("kind", "value", "meter", "provider", "model", "processing", "valid_from", "valid_to")
    return tuple(
        RateRule(RuleKind(kind), value or Decimal(0), *rest)
        for kind, value, *rest in rules.order_by("priority", "valid_from").values_list(*fields)
    )


def _by_rules(
    listed: Price, rules: Sequence[RateRule], *, provider: str, model: str, processing: str
) -> Price:
    """The tenant's price, to the nine places a ledger line keeps, so that a line can be checked by its own price."""
    exact = unit_price_of(
        listed.unit_price,
        rules,
        meter=listed.meter,
        provider=provider,
        model=model,
        processing=processing,
    )
    unit_price = EXACT.quantize(exact, NINE_PLACES)
    return (
        listed if unit_price == listed.unit_price else replace(listed, unit_price=unit_price, book=CONTRACT)
    )


def _fits(row: Price, processing: str, service_tier: str, region: str) -> bool:
    is_processing = row.processing == processing or (
        row.processing == ONLINE and (processing in CHEAPER_PROCESSING or not is_token_meter(row.meter))
    )
    return is_processing and row.service_tier in (service_tier, STANDARD) and row.region in (region, GLOBAL)


def _closeness(row: Price) -> tuple[bool, bool, bool]:
    """How special a row is: the context's own row goes before the one it falls back to."""
    return row.processing != ONLINE, row.service_tier != STANDARD, row.region != GLOBAL


def is_token_meter(meter: str) -> bool:
    """Whether a meter counts tokens; the others count tool calls and the like."""
    return meter.startswith(("input", "cache_", "output"))
