"""Backdated prices and rate rules: the re-rating of what was billed at the old ones is proposed automatically.

Invariant: each price row, and each span of a rule, is checked once. Nothing is booked here: a proposal waits for a person, and
the operators are notified. A row that says what was known before (the old rate kept until a moment) proposes nothing.
"""

from collections import defaultdict
from datetime import datetime

import structlog
from django.db import transaction
from django.utils.timezone import now

from billing.models import PriceCheck, PriceRow, Rerating, RuleCheck
from billing.notices import notify_operators
from billing.rerating.proposals import NothingToRerate, propose_rerating

# A price that begins this much before it was written down is no price from now on.
FIND = """
SELECT p.* FROM billing_pricerow p
WHERE p.superseded_at IS NULL AND p.valid_from < p.recorded_at - interval '1 second'
  AND NOT EXISTS (SELECT FROM billing_pricecheck c WHERE c.price_id = p.id)
  -- its model was priced before, or nothing of it can have been called
  AND EXISTS (
    SELECT FROM billing_pricerow o
    WHERE o.provider = p.provider AND o.model = p.model AND o.recorded_at < p.recorded_at
      AND (o.superseded_at <= p.recorded_at OR (o.source, o.source_digest) <> (p.source, p.source_digest)))
  AND NOT EXISTS (
    SELECT FROM billing_pricerow o
    WHERE o.book = p.book AND o.tenant_id IS NOT DISTINCT FROM p.tenant_id AND o.provider = p.provider AND o.model = p.model
      AND o.meter = p.meter AND o.service_tier = p.service_tier AND o.processing = p.processing AND o.region = p.region
      AND o.above_input_tokens = p.above_input_tokens AND o.unit_price = p.unit_price AND o.per = p.per
      AND o.recorded_at < p.recorded_at AND o.valid_from <= p.valid_from
      AND coalesce(o.valid_to, 'infinity') >= coalesce(p.valid_to, 'infinity'))
ORDER BY p.id
"""

MOST_REASON = 400
MOST_CHECKS = 1000  # in one round; the rest a minute later

log = structlog.get_logger(__name__)


def propose_for_backdated(at: datetime | None = None) -> list[Rerating]:
    """Propose what backdated prices and rules change, for those not checked yet. Returns the new proposals."""
    moment = at or now()
    models: dict[tuple[str, str, int | None], list[PriceRow]] = defaultdict(list)
    for row in PriceRow.objects.raw(FIND):
        models[row.provider, row.model, row.tenant_id].append(row)
    proposals = []
    for rows in models.values():
        proposal = _propose(rows, at=moment)
        if proposal is not None:
            proposals.append(proposal)
    spans: dict[tuple[int, str, str, int | None], list[RuleCheck]] = defaultdict(list)
    waiting = RuleCheck.objects.filter(checked_at=None).select_related("rule", "tenant", "recorded_by")
    for check in waiting.order_by("pk")[:MOST_CHECKS]:
        spans[check.tenant_id, check.rule.provider, _exact(check.rule.model), check.recorded_by_id].append(
            check
        )
    for checks in spans.values():
        proposal = _propose_for_rules(checks)
        if proposal is not None:
            proposals.append(proposal)
    return proposals


@transaction.atomic
def _propose(rows: list[PriceRow], *, at: datetime) -> Rerating | None:
    """One proposal for all backdated rows of a model, from the first moment of any to the last of any."""
    first = rows[0]
    fresh = PriceCheck.objects.bulk_create([PriceCheck(price=row) for row in rows], ignore_conflicts=True)
    starts_at = min(row.valid_from for row in rows)
    ends_at = min(at, max(row.valid_to or at for row in rows))
    if not fresh or ends_at <= starts_at:
        return None
    try:
        proposal = propose_rerating(
            starts_at=starts_at,
            ends_at=ends_at,
            reason=f"backdated price of {first.provider}/{first.model}",
            provider=first.provider,
            model=first.model,
            tenant=first.tenant,
            acting_user=next((row.approved_by for row in rows if row.approved_by), None),
        )
    except NothingToRerate:
        return None
    PriceCheck.objects.filter(price__in=rows).update(rerating=proposal)
    _notify(
        proposal, f"A backdated price of {first.provider}/{first.model}", f"{first.provider}/{first.model}"
    )
    return proposal


@transaction.atomic
def _propose_for_rules(checks: list[RuleCheck]) -> Rerating | None:
    """One proposal for all that one person changed of a tenant's past, of a model or of all that a pattern may fit."""
    ids = [check.pk for check in checks]
    fresh = RuleCheck.objects.select_for_update().filter(pk__in=ids, checked_at=None).order_by("pk")
    if len(fresh) < len(ids):
        return None  # somebody else is at it
    first = checks[0]
    RuleCheck.objects.filter(pk__in=ids).update(checked_at=now())
    try:
        proposal = propose_rerating(
            starts_at=min(check.starts_at for check in checks),
            ends_at=max(check.ends_at for check in checks),
            reason=f"backdated rate rule {first.rule}"[:MOST_REASON],
            provider=first.rule.provider,
            model=_exact(first.rule.model),
            tenant=first.tenant,
            acting_user=first.recorded_by,
        )
    except NothingToRerate:
        return None
    RuleCheck.objects.filter(pk__in=ids).update(rerating=proposal)
    _notify(proposal, f"A backdated rate rule of {first.tenant}", f"rule {first.rule_id}")
    return proposal


def _exact(model: str) -> str:
    """The model that a rule names; empty, which is every one, for a pattern."""
    return "" if set(model) & set("*?[") else model


def _notify(proposal: Rerating, what: str, subject: str) -> None:
    notify_operators(
        "rerating_proposed",
        f"{what} changes {proposal.record_count} calls by {proposal.billed_delta:.6f} USD: "
        "approve or reject the re-rating",
        subject=subject,
        window=proposal.digest,
        value=round(proposal.billed_delta, 12),
    )
