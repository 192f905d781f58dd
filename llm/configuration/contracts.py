"""Applying what is agreed with a tenant: credits and adjustments, commitments, what was paid ahead, currencies, accounts.

Invariant: an entry is known by its name in the file, so that a file that is applied twice books it once; what is booked is never
edited, and another amount under the same name is an error.
"""

from typing import Any
from uuid import UUID, uuid5

from billing.contracts import prepaid
from billing.contracts.commitments import set_commitment
from billing.contracts.currencies import set_rate
from billing.contracts.entries import propose_entry
from billing.four_eyes import NeedsAnother
from billing.models import (
    BillingDetails,
    Commitment,
    CurrencyRate,
    EntryProposal,
    GlAccount,
    PrepaidBalance,
    PrepaidEntry,
)
from llm.configuration.agreements import (
    CommitmentSpec,
    CurrencyRateSpec,
    EntrySpec,
    GlAccountSpec,
    PrepaidSpec,
)
from llm.configuration.changes import FieldChange, shown
from llm.configuration.days import last_moment
from llm.configuration.document import Path
from llm.configuration.writer import Writer
from tenants.models import Tenant

NAMES = UUID("5b6f3a52-3f0e-4c0b-9d3e-6a3c1f0f7b11")


def apply_entry(spec: EntrySpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Enter a credit or an adjustment, once."""
    entry_id = uuid5(NAMES, f"{tenant.pk}/{spec.name}")
    is_new = not EntryProposal.objects.filter(pk=entry_id).exists()
    subject = "user" if spec.user else "cost_center" if spec.cost_center else "tenant"
    with writer.refusals(path, words={"amount_usd": "usd"}):
        propose_entry(
            tenant,
            entry_id=entry_id,
            acting_user=writer.acting_user,
            kind=spec.kind,
            subject=subject,
            subject_value=spec.user or spec.cost_center,
            month=spec.month,
            amount_usd=spec.usd,
            reason=spec.reason,
        )
    writer.changes.add("entry", f"{tenant.slug}/{spec.name}", "created" if is_new else "unchanged")


def apply_prepaid(spec: PrepaidSpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Open a balance, if there is none, and add to it what was not added yet."""
    balance = PrepaidBalance.objects.filter(tenant=tenant).first()
    if balance is None:
        try:
            balance = prepaid.open_balance(
                tenant, alert_below_usd=spec.alert_below_usd, acting_user=writer.acting_user
            )
        except NeedsAnother:
            raise writer.document.error(
                path,
                "four eyes: open the balance in the admin with its first amount, where somebody else approves it",
            ) from None
        writer.changes.add("prepaid balance", tenant.slug, "created")
    else:
        writer.write(
            balance,
            {"alert_below_usd": spec.alert_below_usd},
            written=spec.written(),
            kind="prepaid balance",
            name=tenant.slug,
            path=path,
        )
    for position, addition in enumerate(spec.additions):
        entry_id = uuid5(NAMES, f"{tenant.pk}/prepaid/{addition.name}")
        is_new = not PrepaidEntry.objects.filter(pk=entry_id).exists()
        name = f"{tenant.slug}/{addition.name}"
        with (
            writer.agreements("addition", name) as waiting,
            writer.refusals(
                (*path, "additions", position), words={"amount_usd": "usd", "expires_at": "expires"}
            ),
        ):
            prepaid.add(
                balance,
                amount_usd=addition.usd,
                reason=addition.reason or addition.name,
                kind=addition.kind,
                expires_at=last_moment(addition.expires, tenant=tenant),
                entry_id=entry_id,
                acting_user=writer.acting_user,
            )
        if not waiting:
            writer.changes.add("addition", name, "created" if is_new else "unchanged")


def apply_commitment(spec: CommitmentSpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Set a commitment, or its last month."""
    what: dict[str, Any] = {"span": spec.each, "amount_usd": spec.usd, "first_month": spec.first_month}
    before = Commitment.objects.filter(tenant=tenant, **what).first()
    name = f"{tenant.slug}/{spec.first_month}"
    with (
        writer.agreements("commitment", name) as waiting,
        writer.refusals(path, words={"span": "each", "amount_usd": "usd"}),
    ):
        set_commitment(tenant, **what, last_month=spec.last_month, acting_user=writer.acting_user)
    if waiting:
        return
    if before is None or before.last_month == spec.last_month:
        writer.changes.add("commitment", name, "unchanged" if before else "created")
        return
    ends = FieldChange("last_month", before.last_month, spec.last_month)
    writer.changes.add("commitment", name, "updated", (ends,))


def apply_currency(currency: str, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Have the next statements of a tenant ask for this currency."""
    row = BillingDetails.objects.filter(tenant=tenant).first() or BillingDetails(tenant=tenant)
    values = {"currency": currency}
    writer.write(row, values, written=values, kind="currency", name=tenant.slug, path=path[:-1])


def apply_currency_rate(spec: CurrencyRateSpec, *, path: Path, writer: Writer) -> None:
    """Store a rate; it supersedes another one of its day and pair."""
    pair: dict[str, Any] = {"day": spec.day, "base": spec.base, "quote": spec.quote}
    before = CurrencyRate.objects.filter(**pair, superseded_at=None).first()
    name = f"{spec.base}/{spec.quote} of {spec.day}"
    with writer.agreements("currency rate", name) as waiting, writer.refusals(path):
        made = set_rate(**pair, rate=spec.rate, source=spec.source, acting_user=writer.acting_user)
    if waiting:
        return
    if before is None or before.pk == made.pk:
        writer.changes.add("currency rate", name, "unchanged" if before else "created")
        return
    change = FieldChange("rate", shown(before.rate), shown(made.rate))
    writer.changes.add("currency rate", name, "updated", (change,))


def apply_gl_account(spec: GlAccountSpec, *, path: Path, writer: Writer) -> None:
    """Create or update an account of a general ledger."""
    tenant = Tenant.objects.filter(slug=spec.tenant).first() if spec.tenant else None
    if spec.tenant and tenant is None:
        raise writer.document.error((*path, "tenant"), f"there is no tenant {spec.tenant!r}")
    what = {"kind": spec.kind, "tenant": tenant, "cost_center": spec.cost_center}
    row = GlAccount.objects.filter(**what).first() or GlAccount(**what)
    values = {"code": spec.code, "name": spec.name}
    writer.write(row, values, written=spec.written(), kind="GL account", name=spec.identity(), path=path)
