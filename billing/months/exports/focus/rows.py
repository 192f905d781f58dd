"""The month as a FOCUS 1.2 cost and usage file (https://focus.finops.org).

Invariant: the sum of BilledCost is the ledger's, of a closed month what its statement asks for (a row for the rounding of each
cost centre). ListCost = ListUnitPrice x PricingQuantity on every row that has a price, and a SkuPriceId has one price. x_Saving
and x_Requests add up to the month's. Gateway cache hits are rows of quantity and cost zero. A correction invents no usage.
"""

import csv
from collections import defaultdict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TextIO
from zoneinfo import ZoneInfo

from django.conf import settings

from billing.ledger.dimensions import TAGS
from billing.months.exports.cells import exact, exact_texts, guarded, json_cell, zulu
from billing.months.parts import DetailLine, MonthReport
from billing.prices.book import is_token_meter

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
    "SubAccountName", "Tags", "x_ApiKeyId", "x_Certainty", "x_ExactTexts", "x_Reason", "x_Requests", "x_Saving", "x_UsageSource",
)  # fmt: skip
_LISTED = ("user", "api_key_id", "provider", "model", "reason")  # labels that stand in the file as texts


def write_focus(report: MonthReport, out: TextIO) -> None:
    """Write the file: mandatory and conditional columns in the specification's order, our own (`x_`) last."""
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    billed: dict[str, Decimal] = defaultdict(Decimal)
    for line in report.detail:
        if _is_charge(line):
            writer.writerow(_row(report, line))
            billed[line.labels["cost_center"]] += line.billed_cost_usd
    if report.invoice is not None:
        for cost_center, owed in report.invoice.owed.items():
            if rounding := owed - billed[cost_center]:
                writer.writerow(_rounding(report, cost_center, rounding))
        if report.invoice.tax:
            writer.writerow(_tax(report, report.invoice.tax))


def _is_charge(line: DetailLine) -> bool:
    """Whether a line is a row of the file: what has an amount or a quantity, or counts for the lines of its cut.

    A `request` line without any is none, and neither is usage that a correction took back and booked again as it was.
    """
    if line.charge_requests or line.charge_saved_usd or line.billed_cost_usd:
        return True
    if line.meter in ("request", "correction"):
        return line.labels["usage_source"] == "gateway_cache"
    return bool(line.quantity or line.own_list_usd or line.contracted_cost_usd)


def _row(report: MonthReport, line: DetailLine) -> dict[str, str]:
    starts_at, ends_at = _charge_bounds(report, line)
    labels, is_priced = line.labels, _is_priced(line)
    category = {"credit": "Credit", "adjustment": "Adjustment"}.get(labels["kind"], "Usage")
    if not is_priced and category == "Usage" and not labels["charge_class"]:
        category = "Adjustment"  # of the amount alone, within its own month
    return (
        _facts(report, line.billed_cost_usd, starts_at, ends_at)
        | {
            "ChargeCategory": category,
            "ChargeClass": labels["charge_class"],
            "ChargeDescription": _description(line),
            "ChargeFrequency": "Usage-Based" if is_priced else "One-Time",
            "ContractedCost": _decimal(line.contracted_cost_usd),
            "ListCost": _decimal(line.own_list_usd),
            "PublisherName": guarded(
                publishers.get(labels["provider"], labels["provider"] or settings.PROVIDER_NAME)
            ),
            "SubAccountId": guarded(labels["user"]),
            "SubAccountName": guarded(labels["user"]),
            "Tags": json_cell({**line.tags, **{name: labels[name] for name in TAGS if labels[name]}}),
            "x_ApiKeyId": guarded(labels["api_key_id"]),
            "x_Certainty": labels["certainty"],
            "x_ExactTexts": exact_texts({name: labels[name] for name in _LISTED}),
            "x_Reason": guarded(labels["reason"]),
            "x_Requests": str(line.charge_requests),
            "x_Saving": _decimal(line.charge_saved_usd),
            "x_UsageSource": labels["usage_source"],
        }
        | (_priced(line) if is_priced else {})
    )


def _rounding(report: MonthReport, cost_center: str, amount: Decimal) -> dict[str, str]:
    """What the exact charges of a cost centre lack of what it owes."""
    return _facts(report, amount, report.starts_at, report.ends_at) | {
        "ChargeCategory": "Adjustment",
        "ChargeDescription": "Rounding to what the cost centre owes",
        "ChargeFrequency": "One-Time",
        "ContractedCost": _decimal(amount),
        "ListCost": _decimal(amount),
        "PublisherName": guarded(settings.PROVIDER_NAME),
        "Tags": json_cell({"cost_center": cost_center} if cost_center else {}),
        "x_Certainty": "exact",
        "x_Requests": "0",
        "x_Saving": "0.0",
        "x_UsageSource": "rounding",
    }


def _tax(report: MonthReport, amount: Decimal) -> dict[str, str]:
    """The tax that the statement asks for: with it, the rows make what is payable."""
    return _rounding(report, "", amount) | {
        "ChargeCategory": "Tax",
        "ChargeDescription": "Value-added tax",
        "x_UsageSource": "tax",
    }


def _facts(report: MonthReport, billed: Decimal, starts_at: datetime, ends_at: datetime) -> dict[str, str]:
    """What every row says. A month that is not closed has no invoice."""
    invoice = report.invoice
    return {
        "BilledCost": _decimal(billed),
        "BillingAccountId": guarded(report.tenant_slug),
        "BillingAccountName": guarded(report.tenant_name),
        "BillingCurrency": "USD",
        "BillingPeriodStart": zulu(report.starts_at),
        "BillingPeriodEnd": zulu(report.ends_at),
        "ChargePeriodStart": zulu(starts_at),
        "ChargePeriodEnd": zulu(ends_at),
        "EffectiveCost": _decimal(billed),
        "InvoiceId": invoice.code if invoice else "",
        "InvoiceIssuerName": guarded(invoice.issuer if invoice else settings.ISSUER_NAME),
        "PricingCurrency": "USD",
        "PricingCurrencyEffectiveCost": _decimal(billed),
        "ProviderName": guarded(settings.PROVIDER_NAME),
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "LLM Gateway",
        "ServiceSubcategory": "Generative AI",
    }


def _is_priced(line: DetailLine) -> bool:
    """Whether a row has a quantity and a price: usage has, and the quantities that a correction changes."""
    if line.labels["kind"] == "usage":
        return True
    return line.labels["kind"] == "correction" and line.meter != "correction" and line.quantity != 0


def _priced(line: DetailLine) -> dict[str, str]:
    """The columns of quantities, unit prices and SKUs; null on credits and adjustments."""
    is_hit = line.meter == "request"
    quantity, per = (Decimal(0), 1_000_000) if is_hit else (Decimal(line.quantity), line.per)
    unit = "Tokens" if is_hit or is_token_meter(line.meter) else "Units"
    meter = "gateway_cache_hit" if is_hit else line.meter
    tier, processing = line.labels["service_tier"], line.labels["processing"]
    sku = f"{line.labels['provider']}/{line.labels['model']}/{meter}"
    list_price = _decimal(_unit_price(line.own_list_usd, line, is_hit=is_hit))
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
        "SkuPriceDetails": json_cell(
            {
                "x_Model": line.labels["model"],
                "x_TokenType": meter,
                "x_ServiceTier": tier,
                "x_Processing": processing,
                "x_Region": line.labels["region"],
            }
        ),
        "SkuPriceId": guarded(f"{sku}/{tier}/{processing}/{line.labels['region']}/{list_price}"),
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
    if kind in ("credit", "adjustment"):
        return guarded(f"{kind.capitalize()} of {line.day}: {labels['reason']}")
    what = (
        "answers from the gateway's cache"
        if line.meter == "request"
        else f"{line.meter.replace('_', ' ')} tokens"
    )
    text = f"{labels['model']} {what}, {labels['service_tier']} tier, {labels['processing']}"
    return guarded(f"Correction: {text}" if kind == "correction" else text)


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
