"""Rows of tables that belong together: the reconciliation's, those of sessions and runs, of contracts, and of people."""

from datetime import date, timedelta
from decimal import Decimal
from uuid import NAMESPACE_OID, uuid4, uuid5

from django.utils.timezone import now

from billing.contracts import prepaid
from billing.contracts.commitments import set_commitment
from billing.contracts.currencies import set_rate
from billing.models import (
    AgentHour,
    AgreementProposal,
    Budget,
    BudgetRaise,
    BudgetWindow,
    Commitment,
    CostComparison,
    CostReport,
    CostReportLine,
    CurrencyRate,
    GlAccount,
    PrepaidBalance,
    PrepaidEntry,
    ReportDelivery,
    ReportSchedule,
    RunEnvelope,
)
from tenants.models import AuditEntry, IdentityProvider, Invitation, Tenant
from tenants.people import audit
from tests.admin.office import Office

STORAGE_SECRET = "storage-very-secret"


def add_reconciliation(office: Office) -> None:
    day = now().date()
    report = office.add(
        CostReport(
            provider="openai",
            kind="openai",
            source="upload",
            first_day=day,
            last_day=day,
            line_count=1,
            total_usd=Decimal("0.5"),
            digest="d" * 64,
        )
    )
    CostReportLine.objects.create(
        report=report, provider="openai", day=day, line_item=f"gpt-4o {uuid4().hex}, input", model="gpt-4o",
        meter="input", amount_usd=Decimal("0.5"),
    )  # fmt: skip
    office.add(
        CostComparison(
            provider="openai",
            day=day,
            model="gpt-4o",
            meter=uuid4().hex[:20],
            kind="bypass",
            is_within_tolerance=False,
            their_usd=Decimal("0.5"),
            difference_usd=Decimal("0.5"),
        )
    )


def add_runs(office: Office, tenant: Tenant) -> None:
    """A session with agents, and an envelope that is nearly empty."""
    at, run = now(), f"TICKET-{uuid4().hex[:6]}"
    for agent, parent in (("", ""), ("a1", ""), ("b1", "a1"), ("orphan", "nobody")):
        office.add(
            AgentHour(
                tenant=tenant,
                hour=at.replace(minute=0, second=0, microsecond=0),
                session=f"session-of-{tenant.slug}",
                run=run,
                agent=agent,
                parent_agent=parent,
                agent_type="Explore" if agent == "a1" else "",
                user_id="bob",
                model="claude-opus-4-5",
                requests=3,
                input_tokens=12_345,
                output_tokens=678,
                list_cost=Decimal("0.5"),
                billed_cost=Decimal("0.25"),
            )
        )
    budget = Budget.everything.create(
        tenant=tenant, scope="run", value=run, unit="usd", period="total", limit_amount=Decimal(5)
    )
    window = BudgetWindow(budget=budget, tenant=tenant, subject=run, unit="usd", spent=Decimal("4.9"))
    window.starts_at, window.ends_at = at - timedelta(days=1), at + timedelta(hours=1)
    window.save()
    BudgetRaise.objects.create(
        budget=budget, extra_amount=1, ends_at=at + timedelta(hours=1), reason="the run goes on"
    )
    office.add(
        RunEnvelope(
            budget=budget,
            tenant=tenant,
            owner="user/bob",
            run=run,
            opened_by="run",
            expires_at=at + timedelta(hours=1),
        )
    )


def add_people(office: Office, tenant: Tenant) -> None:
    """How people come to a tenant, and what one of them did."""
    at, address = now(), f"dana-{uuid4().hex[:8]}@acme.example"
    office.add(
        Invitation(
            tenant=tenant, email=address, token_hash=uuid4().bytes * 2, expires_at=at + timedelta(days=7)
        )
    )
    office.add(
        IdentityProvider(
            name="Acme",
            slug=f"acme-{uuid4().hex[:8]}",
            issuer="https://id.example",
            client_id="purser",
            domains=["acme.example"],
            tenant=tenant,
        )
    )
    changes = {"name": ["Acme", "Acme GmbH"]}
    office.rows.setdefault(AuditEntry, audit.record("changed", about=tenant, changes=changes))


def add_contracts(office: Office, tenant: Tenant) -> None:
    """A balance with much in it, since calls of other tests are paid from it, and a minimum that is far ahead."""
    balance = prepaid.open_balance(tenant)
    invoice = uuid5(NAMESPACE_OID, tenant.slug)
    prepaid.add(balance, amount_usd=Decimal(1_000_000), reason="invoice 7", entry_id=invoice)
    office.rows.setdefault(PrepaidBalance, balance)
    office.rows.setdefault(PrepaidEntry, balance.entries.get(pk=invoice))
    office.add(
        AgreementProposal(
            tenant=tenant, kind="prepaid_add", summary=f"100 USD into the prepaid balance of {tenant}: invoice 8",
            arguments={"balance": balance.pk, "amount_usd": "100", "reason": "invoice 8"},
        )
    )  # fmt: skip
    schedule = ReportSchedule(
        tenant=tenant, name=f"lake-{uuid4().hex[:8]}", kind="s3", target="finance/purser", region="eu-central-1",
        access_key="AKIA-x", secret_key=STORAGE_SECRET,
    )  # fmt: skip
    office.add(schedule)
    office.add(
        ReportDelivery(
            schedule=schedule, tenant=tenant, month="2026-10", occasion="close-2026-10", state="dead",
            last_error="the storage answered 403 AccessDenied",
        )
    )  # fmt: skip
    month = set_commitment(tenant, span="month", amount_usd=Decimal(1), first_month="2099-01")
    office.rows.setdefault(Commitment, month)
    rate = set_rate(
        day=date(2020, 1, 1), base="USD", quote="EUR", rate=Decimal("0.9") + tenant.pk, source="the office"
    )
    office.rows.setdefault(CurrencyRate, rate)
    account, _ = GlAccount.objects.get_or_create(kind="revenue", tenant=tenant, defaults={"code": "8400"})
    office.rows.setdefault(GlAccount, account)
