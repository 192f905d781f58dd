"""The two data sets of FOCUS 1.4 beside Cost and Usage: the billing period, and the details of its invoice.

What a cost centre owes is one line of the printed statement, and one row of Invoice Detail; the tax is another. Cost and Usage
names the row that each charge is in, and by that id its BilledCost adds up to the row's, to the last digit.
"""

from collections.abc import Iterator
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings

from billing.months.parts import Invoice, MonthReport

AS_AGREED = "As agreed"


def detail_ids(invoice: Invoice) -> dict[str, str]:
    """The ids of an invoice's details by cost centre; numbered, because a cost centre is any text."""
    return {name: f"{invoice.code}-{number:05d}" for number, name in enumerate(sorted(invoice.owed), 1)}


def tax_id(invoice: Invoice) -> str:
    return f"{invoice.code}-tax"


def billing_periods(report: MonthReport) -> Iterator[dict[str, Any]]:
    """The month's period. While it is being closed it is open: a statement may still not come of it."""
    yield {
        "BillingPeriodCreated": report.starts_at,
        "BillingPeriodEnd": report.ends_at,
        "BillingPeriodLastUpdated": _updated_at(report),
        "BillingPeriodStart": report.starts_at,
        "BillingPeriodStatus": "Closed" if report.period_status == "closed" else "Open",
        "InvoiceIssuerName": report.invoice.issuer if report.invoice else settings.ISSUER_NAME,
    }


def invoice_details(report: MonthReport) -> Iterator[dict[str, Any]]:
    """What the statement asks for, by cost centre, and the tax. An open month has no invoice, and so no rows."""
    invoice = report.invoice
    if invoice is None:
        return
    ids = detail_ids(invoice)
    for name in sorted(invoice.owed):
        if owed := invoice.owed[name]:
            yield _facts(report, invoice) | {
                "BilledCost": owed,
                "ChargeCategory": "Usage",  # with its corrections and credits, which the category allows here
                "InvoiceDetailDescription": f"Usage of cost centre {name}"
                if name
                else "Usage of no cost centre",
                "InvoiceDetailGrain": {"ServiceName": "LLM Gateway", "x_CostCenter": name},
                "InvoiceDetailId": ids[name],
                "PaymentCurrencyBilledCost": owed,
            }
    if invoice.tax:
        yield _facts(report, invoice) | {
            "BilledCost": invoice.tax,
            "ChargeCategory": "Tax",
            "InvoiceDetailDescription": "Value-added tax",
            "InvoiceDetailGrain": {"x_Tax": "VAT"},
            "InvoiceDetailId": tax_id(invoice),
            "PaymentCurrencyBilledCost": invoice.tax,
        }


def _facts(report: MonthReport, invoice: Invoice) -> dict[str, Any]:
    issued_at, terms = _updated_at(report), invoice.terms
    due_on = terms.due_on if terms else None
    zone = ZoneInfo(report.timezone)
    return {
        "BillingAccountId": report.tenant_slug,
        "BillingCurrency": invoice.currency,
        "BillingPeriodEnd": report.ends_at,
        "BillingPeriodStart": report.starts_at,
        "InvoiceDetailCreated": issued_at,
        "InvoiceDetailLastUpdated": issued_at,
        "InvoiceId": invoice.code,
        "InvoiceIssueDate": issued_at,
        "InvoiceIssueStatus": "Issued",
        "InvoiceIssuerName": invoice.issuer,
        "PaymentCurrency": invoice.currency,
        "PaymentDueDate": datetime.combine(due_on, time.min, zone) if due_on else None,
        "PaymentTerms": f"Net {(due_on - issued_at.astimezone(zone).date()).days}" if due_on else AS_AGREED,
        "PurchaseOrderNumber": (terms.po_number if terms else "") or None,
        "ReferenceInvoiceId": invoice.code,  # corrections of earlier months are charges of this one
    }


def _updated_at(report: MonthReport) -> datetime:
    return report.invoice.issued_at if report.invoice else report.made_at
