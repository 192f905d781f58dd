"""Reads what a run cost from the ledger: the product's own month report of the run's tenant.

Invariant: every amount is a sum of the ledger's columns, which the report has checked to the last digit.
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from benchmarks.savings.site import WAIT_SECONDS, Site

STEADY_SECONDS = 2.0
INPUTS = ("input", "cache_read")


@dataclass(frozen=True, slots=True)
class Booked:
    """A run in the ledger. USD; `savings` are by the ledger's own steps, and list cost less their sum is what was billed."""

    requests: int
    hits: int
    list_usd: Decimal
    billed_usd: Decimal
    savings: dict[str, Decimal]
    own_calls: int  # checks of the cache: they are part of what was billed
    own_usd: Decimal
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    by_kind: dict[str, dict[str, Any]]
    by_model: dict[str, dict[str, Any]]
    batch_calls: int  # that were bought in batches
    calls_online: int  # that were bought in real time
    batches_usd: Decimal  # what was billed for those in batches
    batches_online_usd: Decimal  # and the same with what batches saved


def read(slug: str) -> Booked:
    """The run of a tenant, when everything is settled."""
    from billing.models import UsageRecord
    from billing.months.report import month_report
    from billing.prices.savings import OUR_OWN
    from tenants.models import Tenant

    tenant = Tenant.objects.get(slug=slug)
    _wait_until_settled(tenant.pk)
    report = month_report(tenant, month=f"{datetime.now(UTC):%Y-%m}")
    totals = report.totals
    first, *steps, _ = report.waterfall
    own = UsageRecord.objects.filter(tenant=tenant, cache_state__in=OUR_OWN)
    bought = UsageRecord.objects.filter(tenant=tenant).exclude(usage_source="gateway_cache")
    in_batches = bought.filter(processing="batch")
    batches_usd = sum(in_batches.values_list("billed_cost", flat=True), Decimal(0))
    saved = (Decimal(saving.get("batch", 0)) for saving in in_batches.values_list("saving", flat=True))
    return Booked(
        requests=totals.requests,
        hits=totals.cache_hits,
        list_usd=first.amount_usd,
        billed_usd=totals.billed_cost_usd,
        savings={step.name: step.amount_usd for step in steps},
        own_calls=own.count(),
        own_usd=sum(own.values_list("billed_cost", flat=True), Decimal(0)),
        input_tokens=totals.input_tokens,
        cached_tokens=totals.cache_read_tokens,
        output_tokens=totals.output_tokens,
        by_kind=_cut(report, "features", label=0),
        by_model=_cut(report, "models", label=1),
        batch_calls=in_batches.count(),
        calls_online=bought.exclude(processing="batch").count(),
        batches_usd=batches_usd,
        batches_online_usd=batches_usd + sum(saved, Decimal(0)),
    )


def check_invoice(site: Site) -> int:
    """How many calls the sandbox billed; fails unless the ledger has the same calls with the same tokens."""
    from billing.models import UsageLine, UsageRecord

    lines: dict[Any, dict[str, int]] = defaultdict(dict)
    for record_id, meter, quantity in UsageLine.objects.values_list("record_id", "meter", "quantity"):
        lines[record_id][meter] = int(quantity)
    bought = UsageRecord.objects.exclude(usage_source="gateway_cache").values_list("pk", "upstream_id")
    booked = sorted((upstream_id, sorted(lines[record].items())) for record, upstream_id in bought)
    calls = [call for call in site.control("calls")["calls"] if call["billed"]]
    # a line of a batch has no request of its own, but its answer has an id
    named = ((call["upstream_id" if call["processing"] == "batch" else "request_id"], call) for call in calls)
    invoiced = sorted((name, sorted(call["billed"].items())) for name, call in named)
    if booked != invoiced:
        raise SystemExit(
            f"{len(booked)} calls are booked and {len(invoiced)} invoiced, or their tokens differ"
        )
    return len(booked)


def _wait_until_settled(tenant_id: int) -> None:
    """Until no call is open and no row is added: answers are checked in the background."""
    from billing.models import Attempt, UsageRecord

    deadline = time.monotonic() + WAIT_SECONDS
    rows = -1
    while time.monotonic() < deadline:
        is_open = Attempt.objects.filter(tenant_id=tenant_id, state__in=("held", "sent")).exists()
        now = UsageRecord.objects.filter(tenant_id=tenant_id).count()
        if not is_open and now == rows:
            return
        rows = now
        time.sleep(STEADY_SECONDS)
    raise SystemExit(f"calls are still open after {WAIT_SECONDS} s")


def _cut(report: Any, name: str, *, label: int) -> dict[str, dict[str, Any]]:
    (section,) = (one for one in report.sections if one.name == name)
    return {
        group.labels[label]: {
            "requests": group.measures.requests,
            "hits": group.measures.cache_hits,
            "billed_usd": group.measures.billed_cost_usd,
        }
        for group in section.groups
    }
