"""Agreements that wait for another person: proposed, approved and written, or rejected.

Invariant: what is approved is written by the same function as what needs no approval, once, in the transaction that decides the
proposal; where the function refuses by then, nothing is decided.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import structlog
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from billing.contracts import commitments, currencies, prepaid
from billing.four_eyes import Approval, NeedsAnother, require_another
from billing.models import AgreementProposal, Commitment, PrepaidBalance, RateRule
from billing.notices import notify_operators
from billing.prices import plan_editing

Status = AgreementProposal.Status
Kind = AgreementProposal.Kind
METRIC: Final = "agreement_proposed"
log = structlog.get_logger(__name__)


@transaction.atomic
def propose(needed: NeedsAnother, *, acting_user: User | None = None) -> AgreementProposal:
    """Keep what needs another person; what waits already is not proposed twice."""
    arguments = {name: _stored(value) for name, value in needed.arguments.items()}
    same = AgreementProposal.objects.filter(
        tenant=needed.tenant, kind=needed.kind, arguments=arguments, status=Status.PROPOSED
    ).first()
    if same is not None:
        return same
    proposal = AgreementProposal(
        tenant=needed.tenant,
        kind=needed.kind,
        summary=needed.summary[:300],
        arguments=arguments,
        proposed_by=acting_user,
    )
    proposal.full_clean()
    proposal.save(force_insert=True)
    notify_operators(
        METRIC,
        f"{proposal} waits: by the tenant's policy somebody else approves it",
        subject=str(proposal.pk),
    )
    log.info("agreement_proposed", proposal=str(proposal.pk), kind=proposal.kind)
    return proposal


@transaction.atomic
def approve(proposal: AgreementProposal, *, acting_user: User | None = None) -> AgreementProposal:
    """Write what was proposed; what is written already stays as it is. Raises ValidationError, also if another has to approve."""
    locked = _locked(proposal)
    if locked.status == Status.DONE:
        return locked
    if locked.status == Status.REJECTED:
        raise ValidationError("it was rejected")
    if locked.tenant is not None:
        require_another([locked.tenant], authors={locked.proposed_by_id}, approved_by=acting_user)
    approval = Approval(proposed_by=locked.proposed_by, approved_by=acting_user)
    _WRITE[Kind(locked.kind)](locked, locked.arguments, approval)
    return _decide(locked, Status.DONE, acting_user)


@transaction.atomic
def reject(proposal: AgreementProposal, *, acting_user: User | None = None) -> AgreementProposal:
    """Write nothing. Raises ValidationError for what is written."""
    locked = _locked(proposal)
    if locked.status == Status.DONE:
        raise ValidationError("it is written")
    return locked if locked.status == Status.REJECTED else _decide(locked, Status.REJECTED, acting_user)


def _locked(proposal: AgreementProposal) -> AgreementProposal:
    rows = AgreementProposal.objects.select_for_update(of=("self",)).select_related("tenant", "proposed_by")
    return rows.get(pk=proposal.pk)


def _decide(proposal: AgreementProposal, status: str, acting_user: User | None) -> AgreementProposal:
    proposal.status, proposal.decided_by, proposal.decided_at = status, acting_user, now()
    proposal._history_user = acting_user  # type: ignore[attr-defined]  # the audit log reads it
    proposal.save(update_fields=["status", "decided_by", "decided_at"])
    log.info("agreement_decided", proposal=str(proposal.pk), status=status)
    return proposal


def _stored(value: Any) -> Any:
    """A value as JSON has it, exactly."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | UUID) else value


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _open_balance(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    assert proposal.tenant is not None
    prepaid.open_balance(
        proposal.tenant,
        alert_below_usd=said["alert_below_usd"],
        first_usd=_amount(said["first_usd"]),
        first_reason=said["first_reason"],
        acting_user=approval.proposed_by,
        approval=approval,
    )


def _add(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    prepaid.add(
        PrepaidBalance.objects.select_related("tenant").get(pk=said["balance"], tenant=proposal.tenant),
        amount_usd=Decimal(said["amount_usd"]),
        reason=said["reason"],
        kind=said["kind"],
        expires_at=_moment(said["expires_at"]),
        entry_id=UUID(said["entry_id"]) if said["entry_id"] else proposal.pk,
        acting_user=approval.proposed_by,
        approval=approval,
    )


def _pay_back(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    prepaid.pay_back(
        PrepaidBalance.objects.select_related("tenant").get(pk=said["balance"], tenant=proposal.tenant),
        amount_usd=Decimal(said["amount_usd"]),
        reason=said["reason"],
        acting_user=approval.proposed_by,
        approval=approval,
    )


def _commit(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    assert proposal.tenant is not None
    values: dict[str, Any] = {**said, "amount_usd": Decimal(said["amount_usd"])}
    commitments.set_commitment(proposal.tenant, **values, acting_user=approval.proposed_by, approval=approval)


def _end_commitment(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    commitment = Commitment.objects.get(pk=said["commitment"], tenant=proposal.tenant)
    commitments.end_commitment(
        commitment, last_month=said["last_month"], acting_user=approval.proposed_by, approval=approval
    )


def _set_rule(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    assert proposal.tenant is not None
    values: dict[str, Any] = {
        **said,
        "value": _amount(said["value"]),
        "valid_from": _moment(said["valid_from"]),
        "valid_to": _moment(said["valid_to"]),
    }
    plan_editing.set_rule(proposal.tenant, **values, acting_user=approval.proposed_by, approval=approval)


def _end_rule(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    rule = RateRule.objects.get(pk=said["rule"], tenant=proposal.tenant)
    plan_editing.end_rule(rule, at=_moment(said["at"]), acting_user=approval.proposed_by, approval=approval)


def _set_rate(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    values: dict[str, Any] = {
        **said,
        "day": date.fromisoformat(said["day"]),
        "rate": Decimal(said["rate"]),
    }
    currencies.set_rate(**values, acting_user=approval.proposed_by, approval=approval)


def _import_rates(proposal: AgreementProposal, said: Mapping[str, Any], approval: Approval) -> None:
    currencies.import_rates(said["text"], acting_user=approval.proposed_by, approval=approval)


_WRITE: Final[Mapping[Kind, Callable[[AgreementProposal, Mapping[str, Any], Approval], None]]] = {
    Kind.PREPAID_OPEN: _open_balance,
    Kind.PREPAID_ADD: _add,
    Kind.PREPAID_PAY_BACK: _pay_back,
    Kind.COMMITMENT: _commit,
    Kind.COMMITMENT_END: _end_commitment,
    Kind.RATE_RULE: _set_rule,
    Kind.RATE_RULE_END: _end_rule,
    Kind.CURRENCY_RATE: _set_rate,
    Kind.CURRENCY_RATES: _import_rates,
}
