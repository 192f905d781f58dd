"""The month as a FOCUS 1.2 cost and usage file (https://focus.finops.org).

Invariant: the sum of BilledCost is the ledger's, and ListCost = ListUnitPrice x PricingQuantity on every row
that has a price. Gateway cache hits are rows of quantity and cost zero whose saving is in x_Saving.
"""

import csv
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TextIO
from zoneinfo import ZoneInfo

from billing.ledger.dimensions import TAGS
from billing.months.exports.cells import exact, guarded, zulu
from billing.months.report import DetailLine, MonthReport
from billing.prices.book import is_token_meter

ISSUER = "Purser"
LINE_ROUNDING = Decimal("5e-13")
publishers: dict[str, str] = {}  # by the name of the provider; filled by the app that knows them, `llm.apps`
COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountStatus", "ConsumedQuantity",
    "ConsumedUnit", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId",
    "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency",
    "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
    "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId",
    "SubAccountName", "Tags", "x_ApiKeyId", "x_Requests", "x_Saving", "x_UsageSource",
)  # fmt: skip


def write_focus(report: MonthReport, out: TextIO) -> None:
    """Write the file: mandatory and conditional columns in the specification's order, our own (`x_`) last."""
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    for line in report.detail:
        if _is_charge(line):
            writer.writerow(_row(report, line))


def _is_charge(line: DetailLine) -> bool:
    """A `request` line counts calls; it is a charge of its own for a cache hit, or with an amount of its own."""
    return (
        line.meter != "request" or line.labels["usage_source"] == "gateway_cache" or line.billed_cost_usd != 0
    )


def _row(report: MonthReport, line: DetailLine) -> dict[str, str]:
    starts_at, ends_at = _charge_bounds(report, line)
    is_usage = line.labels["kind"] in ("usage", "correction")
    # the ledger's list cost of a call is what it would have cost without us; FOCUS means this very charge
    listed = line.billed_cost_usd if line.meter == "request" else line.list_cost_usd
    return {
        "BilledCost": _decimal(line.billed_cost_usd),
        "BillingAccountId": guarded(report.tenant_slug),
        "BillingAccountName": guarded(report.tenant_name),
        "BillingCurrency": "USD",
        "BillingPeriodStart": zulu(report.starts_at),
        "BillingPeriodEnd": zulu(report.ends_at),
        "ChargeCategory": {"credit": "Credit", "adjustment": "Adjustment"}.get(line.labels["kind"], "Usage"),
        "ChargeClass": line.labels["charge_class"],
        "ChargeDescription": _description(line),
        "ChargeFrequency": "Usage-Based" if is_usage else "One-Time",
        "ChargePeriodStart": zulu(starts_at),
        "ChargePeriodEnd": zulu(ends_at),
        "ContractedCost": _decimal(line.contracted_cost_usd),
        "EffectiveCost": _decimal(line.billed_cost_usd),
        "InvoiceId": statement_number(report),
        "InvoiceIssuerName": ISSUER,
        "ListCost": _decimal(listed),
        "PricingCurrency": "USD",
        "PricingCurrencyEffectiveCost": _decimal(line.billed_cost_usd),
        "ProviderName": ISSUER,
        "PublisherName": guarded(publishers.get(line.labels["provider"], line.labels["provider"] or ISSUER)),
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "LLM Gateway",
        "ServiceSubcategory": "Generative AI",
        "SubAccountId": guarded(line.labels["user"]),
        "SubAccountName": guarded(line.labels["user"]),
        "Tags": json.dumps(_tags(line), sort_keys=True, ensure_ascii=False),
        "x_ApiKeyId": guarded(line.labels["api_key_id"]),
        "x_Requests": str(line.calls),
        "x_Saving": _decimal(line.saved_usd),
        "x_UsageSource": line.labels["usage_source"],
    } | (_priced(line) if is_usage else {})


def _priced(line: DetailLine) -> dict[str, str]:
    """The columns of quantities, unit prices and SKUs; null on credits and adjustments."""
    is_hit = line.meter == "request"
    quantity, per = (Decimal(0), 1_000_000) if is_hit else (Decimal(line.quantity), line.per)
    unit = "Tokens" if is_hit or is_token_meter(line.meter) else "Units"
    meter = "gateway_cache_hit" if is_hit else line.meter
    tier, processing = line.labels["service_tier"], line.labels["processing"]
    sku = f"{line.labels['provider']}/{line.labels['model']}/{meter}"
    list_price = _decimal(_unit_price(line.list_cost_usd, line, is_hit=is_hit))
    contracted_price = _decimal(_unit_price(line.contracted_cost_usd, line, is_hit=is_hit))
    return {
        "ConsumedQuantity": _decimal(quantity),
        "ConsumedUnit": unit,
        "ContractedUnitPrice": contracted_price,
        "ListUnitPrice": list_price,
        "PricingCategory": "Standard",
        "PricingCurrencyContractedUnitPrice": contracted_price,
        "PricingCurrencyListUnitPrice": list_price,
        "PricingQuantity": _decimal(quantity / per),
        "PricingUnit": unit if per == 1 else f"{per} {unit}",
        "SkuId": guarded(sku),
        "SkuMeter": meter.replace("_", " ").title() + (" Tokens" if unit == "Tokens" and not is_hit else ""),
        "SkuPriceDetails": json.dumps(
            {
                "x_Model": line.labels["model"],
                "x_TokenType": meter,
                "x_ServiceTier": tier,
                "x_Processing": processing,
                "x_Region": line.labels["region"],
            }
        ),
        "SkuPriceId": guarded(f"{sku}/{tier}/{processing}"),
    }


def statement_number(report: MonthReport) -> str:
    """Return the number of the statement that has the month's charges."""
    return report.statement_code or f"ST-{report.month}-{report.tenant_slug}"


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
    if kind in ("credit", "adjustment"):
        return f"{kind.capitalize()} of {line.day}"
    what = (
        "answers from the gateway's cache"
        if line.meter == "request"
        else f"{line.meter.replace('_', ' ')} tokens"
    )
    text = f"{labels['model']} {what}, {labels['service_tier']} tier, {labels['processing']}"
    return guarded(f"Correction: {text}" if kind == "correction" else text)


def _tags(line: DetailLine) -> dict[str, str]:
    return {**line.tags, **{name: line.labels[name] for name in TAGS if line.labels[name]}}


def _charge_bounds(report: MonthReport, line: DetailLine) -> tuple[datetime, datetime]:
    """The day of a charge, as far as it lies in the month; that of a correction lies in an earlier one."""
    starts_at, ends_at = _day_bounds(line.day, report.timezone)
    if line.labels["charge_class"]:
        return starts_at, ends_at
    return max(starts_at, report.starts_at), min(ends_at, report.ends_at)


def _day_bounds(day: date, timezone: str) -> tuple[datetime, datetime]:
    """The first moment of a day and of the next in a time zone, which may be 23 or 25 hours."""
    zone = ZoneInfo(timezone)
    return datetime.combine(day, time.min, zone), datetime.combine(day + timedelta(days=1), time.min, zone)


def _decimal(amount: Decimal) -> str:
    # At least one digit after the point: a column of whole numbers would be read as integers.
    return exact(amount, places=1)
