"""A month's charges as FOCUS has them (https://focus.finops.org): one source of rows for all its versions and formats.

Invariant: values are typed and texts are as in the API; writers guard them. The sum of BilledCost is the ledger's, of a closed
month what its statement asks for (a row for the rounding of each cost centre, and for the tax), in all and by InvoiceDetailId.
ListCost = ListUnitPrice x PricingQuantity on every row that has a price, and a SkuPriceId has one price. x_Saving and x_Requests
add up to the month's. Gateway cache hits are rows of quantity and cost zero. A correction invents no usage.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings

from billing.contracts.currencies import converted
from billing.ledger.dimensions import TAGS
from billing.ledger.measures import AMOUNTS_ALONE
from billing.money import EXACT
from billing.months.exports.cells import exact
from billing.months.exports.focus.invoices import detail_ids, tax_id
from billing.months.parts import NOTHING, DetailLine, Invoice, MonthReport, SharedCost
from billing.prices.book import is_token_meter

Row = dict[
    str, Any
]  # by column: str, int, Decimal, datetime, or a Mapping where FOCUS has JSON; None is null

LINE_ROUNDING = Decimal("5e-13")
publishers: dict[str, str] = {}  # by the name of the provider; filled by the app that knows them, `llm.apps`
NOT_APPLICABLE = "Not Applicable"
PRICED_IN = "USD"
PRICE_PLACES = 18  # as many as Parquet's column has
_AMOUNTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
_PRICES = ("ContractedUnitPrice", "ListUnitPrice")
# Labels that stand in a file as texts.
_LISTED = (
    "user",
    "api_key_id",
    "api_key",
    "feature",
    "provider",
    "model",
    "reason",
    "cost_center",
    "project",
)


def charges(report: MonthReport) -> Iterator[Row]:
    """The rows of Cost and Usage, with the columns of every version that we write."""
    by_center = detail_ids(report.invoice) if report.invoice else {}
    billed: dict[str, Decimal] = defaultdict(Decimal)
    invoice = report.invoice
    for line in report.detail:
        if _is_charge(line):
            cost_center = line.labels["cost_center"]
            row = _in_currency(_row(report, line), invoice)
            yield row | {"InvoiceDetailId": by_center.get(cost_center)}
            billed[cost_center] += row["BilledCost"]
    if invoice is None:
        return
    for cost_center, owed in invoice.owed.items():
        if rounding := owed - billed[cost_center]:
            yield _rounding(report, cost_center, rounding) | {"InvoiceDetailId": by_center[cost_center]}
    if invoice.tax:
        yield _tax(report, invoice.tax) | {"InvoiceDetailId": tax_id(invoice)}


def _in_currency(row: Row, invoice: Invoice | None) -> Row:
    """A row in the currency of its invoice. What is priced in USD stays so in the columns of the pricing currency."""
    if invoice is None or invoice.currency == PRICED_IN:
        return row
    amounts = {name: converted(row[name], invoice.fx_rate) for name in _AMOUNTS}
    prices = {
        name: round(EXACT.multiply(row[name], invoice.fx_rate), PRICE_PLACES)
        for name in _PRICES
        if row.get(name) is not None
    }
    return row | amounts | prices | {"BillingCurrency": invoice.currency}


def _is_charge(line: DetailLine) -> bool:
    """Whether a line is a row of the file: what has an amount or a quantity, or counts for the lines of its cut.

    A `request` line without any is none, and neither is usage that a correction took back and booked again as it was.
    """
    if line.charge_requests or line.charge_saved_usd or line.billed_cost_usd:
        return True
    if line.meter in ("request", "correction"):
        return line.labels["usage_source"] == "gateway_cache"
    return bool(line.quantity or line.own_list_usd or line.contracted_cost_usd)


def _row(report: MonthReport, line: DetailLine) -> Row:
    starts_at, ends_at = _charge_bounds(report, line)
    labels, is_priced = line.labels, _is_priced(line)
    category = "Adjustment" if labels["kind"] in AMOUNTS_ALONE else "Usage"
    category = "Credit" if labels["kind"] == "credit" else category
    if not is_priced and category == "Usage" and not labels["charge_class"]:
        category = "Adjustment"  # of the amount alone, within its own month
    return (
        _facts(report, line.billed_cost_usd, starts_at, ends_at)
        | {
            "ChargeCategory": category,
            "ChargeClass": labels["charge_class"] or None,
            "ChargeDescription": _description(line),
            "ChargeFrequency": "Usage-Based" if is_priced else "One-Time",
            "ContractedCost": line.contracted_cost_usd,
            "ListCost": line.own_list_usd,
            **_providers(labels["provider"]),
            "SubAccountId": labels["user"] or None,
            "SubAccountName": labels["user"] or None,
            "Tags": {**line.tags, **{name: labels[name] for name in TAGS if labels[name]}},
            **_actors(labels),
            **_allocated(report, line),
            "x_Certainty": labels["certainty"],
            "x_ExactTexts": {name: labels[name] for name in _LISTED},
            "x_Reason": labels["reason"] or None,
            "x_Requests": line.charge_requests,
            "x_Saving": line.charge_saved_usd,
            "x_UsageSource": labels["usage_source"],
        }
        | (_priced(line) if is_priced else {})
    )


def _rounding(report: MonthReport, cost_center: str, amount: Decimal) -> Row:
    """What the exact charges of a cost centre lack of what it owes, in the currency of the invoice."""
    currency = report.invoice.currency if report.invoice else PRICED_IN
    return _facts(report, amount, report.starts_at, report.ends_at) | {
        "BillingCurrency": currency,
        "PricingCurrency": currency,
        "ChargeCategory": "Adjustment",
        "ChargeDescription": "Rounding to what the cost centre owes",
        "ChargeFrequency": "One-Time",
        "ContractedCost": amount,
        "ListCost": amount,
        **_providers(""),
        "Tags": {"cost_center": cost_center} if cost_center else {},
        "x_CostCenter": cost_center or None,
        "x_Certainty": "exact",
        "x_Requests": 0,
        "x_Saving": NOTHING,
        "x_UsageSource": "rounding",
    }


def _tax(report: MonthReport, amount: Decimal) -> Row:
    """The tax that the statement asks for: with it, the rows make what is payable."""
    return _rounding(report, "", amount) | {
        "ChargeCategory": "Tax",
        "ChargeDescription": "Value-added tax",
        "x_UsageSource": "tax",
    }


def _facts(report: MonthReport, billed: Decimal, starts_at: datetime, ends_at: datetime) -> Row:
    """What every row says. A month that is not closed has no invoice."""
    invoice = report.invoice
    return {
        "BilledCost": billed,
        "BillingAccountId": report.tenant_slug,
        "BillingAccountName": report.tenant_name,
        "BillingCurrency": "USD",
        "BillingPeriodStart": report.starts_at,
        "BillingPeriodEnd": report.ends_at,
        "ChargePeriodStart": starts_at,
        "ChargePeriodEnd": ends_at,
        "EffectiveCost": billed,
        "InvoiceId": invoice.code if invoice else None,
        "InvoiceIssuerName": invoice.issuer if invoice else settings.ISSUER_NAME,
        "PricingCurrency": "USD",
        "PricingCurrencyEffectiveCost": billed,
        "ProviderName": settings.PROVIDER_NAME,
        "ServiceProviderName": settings.PROVIDER_NAME,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "LLM Gateway",
        "ServiceSubcategory": "Generative AI",
    }


def _providers(provider: str) -> Row:
    """Who made what the service resells, and on whose machines it ran: the provider of a call, nobody's of an amount alone."""
    name = publishers.get(provider, provider)
    return {"PublisherName": name or settings.PROVIDER_NAME, "HostProviderName": name or NOT_APPLICABLE}


def _actors(labels: Mapping[str, str]) -> Row:
    """User, key and feature, as the drafts of FOCUS 1.5 name the first two; null where a charge has none."""
    key, name = labels["api_key_id"], labels["api_key"]
    credential = {"Credential": {"Id": key, "Type": "API Key", "Name": name}} if key else None
    return {
        "x_ConsumerId": labels["user"] or None,
        "x_CredentialDetails": credential,
        "x_CredentialId": key or None,
        "x_Feature": labels["feature"] or None,
        "x_PrincipalId": key or None,
    }


def _allocated(report: MonthReport, line: DetailLine) -> Row:
    """Whose cost a charge is, and whose it becomes, by the first split rule that names it; its amount stays as booked."""
    labels = line.labels
    rule = next((one for one in report.shared if _is_taken(line, one)), None)
    return {
        "x_CostCenter": labels["cost_center"] or None,
        "x_MissingTags": labels["missing_tags"] or None,
        "x_Project": labels["project"] or None,
        "x_SplitRule": rule.rule if rule and rule.shares else None,
        "x_SplitShares": {name: exact(share) for name, share in rule.shares.items()}
        if rule and rule.shares
        else None,
    }


def _is_taken(line: DetailLine, rule: SharedCost) -> bool:
    labels, has_none = line.labels, not line.labels["cost_center"]
    match rule.source:
        case "cost_center" | "project":
            return labels[rule.source] == rule.value
        case "tag":
            return line.tags.get(rule.tag) == rule.value
        case "unallocated":
            return has_none and labels["kind"] in ("usage", "correction")
        case "credits":
            return has_none and labels["kind"] == "credit"
        case "fees":
            return has_none and labels["kind"] == "adjustment"
    return False


def _is_priced(line: DetailLine) -> bool:
    """Whether a row has a quantity and a price: usage has, and the quantities that a correction changes."""
    if line.labels["kind"] == "usage":
        return True
    return line.labels["kind"] == "correction" and line.meter != "correction" and line.quantity != 0


def _priced(line: DetailLine) -> Row:
    """The columns of quantities, unit prices and SKUs; null on credits and adjustments."""
    is_hit = line.meter == "request"
    quantity, per = (Decimal(0), 1_000_000) if is_hit else (Decimal(line.quantity), line.per)
    unit = "Tokens" if is_hit or is_token_meter(line.meter) else "Units"
    meter = "gateway_cache_hit" if is_hit else line.meter
    tier, processing = line.labels["service_tier"], line.labels["processing"]
    sku = f"{line.labels['provider']}/{line.labels['model']}/{meter}"
    list_price = _unit_price(line.own_list_usd, line, is_hit=is_hit)
    contracted_price = _unit_price(line.contracted_cost_usd, line, is_hit=is_hit)
    return {
        "ConsumedQuantity": quantity,
        "ConsumedUnit": unit,
        "ContractedUnitPrice": contracted_price,
        "ListUnitPrice": list_price,
        "PricingCategory": "Standard",
        "PricingCurrencyContractedUnitPrice": contracted_price,
        "PricingCurrencyListUnitPrice": list_price,
        "PricingQuantity": quantity / per,
        "PricingUnit": unit if per == 1 else f"{per} {unit}",
        "SkuId": sku,
        "SkuMeter": meter.replace("_", " ").title() + (" Tokens" if unit == "Tokens" and not is_hit else ""),
        "SkuPriceDetails": {
            "x_Model": line.labels["model"],
            "x_TokenType": meter,
            "x_ServiceTier": tier,
            "x_Processing": processing,
            "x_Region": line.labels["region"],
        },
        "SkuPriceId": f"{sku}/{tier}/{processing}/{line.labels['region']}/{exact(list_price, places=1)}",
    }


def _unit_price(cost: Decimal, line: DetailLine, *, is_hit: bool) -> Decimal:
    """The price of `per` units: that of the ledger's line, or the row's cost for that many.

    A row sums lines that were each rounded at 12 places, so its cost may be off the product by as much.
    """
    if is_hit or not line.quantity:
        return Decimal(0)
    if line.unit_price_usd is not None and _makes(line.unit_price_usd, cost, line):
        return line.unit_price_usd
    price = cost * line.per / line.quantity
    rounded = round(price, 9)
    return rounded if _makes(rounded, cost, line) else round(price, 18)


def _makes(unit_price: Decimal, cost: Decimal, line: DetailLine) -> bool:
    return abs(unit_price * line.quantity / line.per - cost) <= line.rows * LINE_ROUNDING


def _description(line: DetailLine) -> str:
    labels, kind = line.labels, line.labels["kind"]
    if kind in AMOUNTS_ALONE:
        return f"{kind.capitalize()} of {line.day}: {labels['reason']}"
    what = (
        "answers from the gateway's cache"
        if line.meter == "request"
        else f"{line.meter.replace('_', ' ')} tokens"
    )
    text = f"{labels['model']} {what}, {labels['service_tier']} tier, {labels['processing']}"
    return f"Correction: {text}" if kind == "correction" else text


def _charge_bounds(report: MonthReport, line: DetailLine) -> tuple[datetime, datetime]:
    """The day of a charge, as far as it lies in the month; that of a correction lies in an earlier one."""
    starts_at, ends_at = _day_bounds(line.day, report.timezone)
    if line.labels["charge_class"]:
        return starts_at, ends_at
    return max(starts_at, report.starts_at), min(ends_at, report.ends_at)


@lru_cache(maxsize=1000)  # the days of a month are few
def _day_bounds(day: date, timezone: str) -> tuple[datetime, datetime]:
    """The first moment of a day and of the next in a time zone, which may be 23 or 25 hours."""
    zone = ZoneInfo(timezone)
    return datetime.combine(day, time.min, zone), datetime.combine(day + timedelta(days=1), time.min, zone)
