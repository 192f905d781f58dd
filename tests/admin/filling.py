"""A row of every table of the admin."""

import os
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

from django.utils.timezone import now

from billing.contracts.entries import propose_entry
from billing.models import (
    AlertChannel,
    AlertDelivery,
    AlertEvent,
    AlertRule,
    Attempt,
    BillingDetails,
    BillingPeriod,
    Budget,
    BudgetRaise,
    BudgetWindow,
    EntryProposal,
    EstimateAccuracy,
    ManualEntry,
    PriceProposal,
    PriceRow,
    RaiseRequest,
    RateRule,
    Rerating,
    RollupDirty,
    SplitRule,
    UsageDaily,
    UsageLine,
    UsageRecord,
)
from billing.months.split_rules import set_split
from billing.prices.plan_editing import set_rule
from caching.models import CacheEntry, CacheLabel, CacheScope, CacheStat
from llm.models import (
    AskedQuestion,
    Batch,
    BatchItem,
    BatchJob,
    DeferredJob,
    Feedback,
    KeptItem,
    KeptResponse,
    LanguageModel,
    Provider,
    RefreshedMonth,
    RequestLog,
    StoredChat,
    StoredFile,
)
from tenants.keys.editing import issue_key
from tenants.models import ApiKey, EndUser, Tenant
from tests.admin.filling_apart import add_contracts, add_people, add_reconciliation, add_runs
from tests.admin.office import Office

PROVIDER_KEY, HOOK_SECRET = "sk-provider-very-secret", "hook-very-secret"


def fill(office: Office, tenant: Tenant) -> None:
    """Add a row of every table to a tenant."""
    at, add = now(), office.add
    key, _ = issue_key(tenant, name=f"ci-{uuid4().hex[:8]}")
    office.rows.setdefault(ApiKey, key)
    add(EndUser(tenant=tenant, external_id=f"bob-{uuid4().hex[:8]}", cost_center="4711"))
    add_people(office, tenant)
    _money(office, tenant, key)
    add_runs(office, tenant)
    office.rows.setdefault(RefreshedMonth, RefreshedMonth.objects.get(tenant=tenant))
    provider = add(
        Provider(
            name=f"p-{uuid4().hex[:8]}",
            kind="openai",
            base_url="https://example.com/v1",
            api_key=PROVIDER_KEY,
        )
    )
    add(LanguageModel(name=f"gpt-{uuid4().hex[:8]}", provider=provider, upstream="gpt", context_window=1000))
    request = add(
        RequestLog(
            request_id=uuid4(),
            tenant=tenant,
            at=at,
            key_id=key.pk,
            endpoint="chat",
            model_asked="auto",
            cache_state="miss",
            status=200,
            receipt={"steps": []},
        )
    )
    add(Feedback(tenant=tenant, request=request, rating=1))
    file = add(
        StoredFile(
            public_id=f"file-{uuid4().hex}",
            tenant=tenant,
            key_id=key.pk,
            purpose="batch",
            filename="a.jsonl",
            bytes=2,
            location=f"{tenant.pk}/x",
            created_at=at,
        )
    )
    batch = add(
        Batch(
            public_id=f"batch_{uuid4().hex}",
            tenant=tenant,
            key_id=key.pk,
            endpoint="/v1/chat/completions",
            input_file=file,
            created_at=at,
            expires_at=at + timedelta(days=1),
        )
    )
    job = add(
        BatchJob(
            public_id=f"job_{uuid4().hex}",
            batch=batch,
            tenant=tenant,
            provider="openai",
            model="gpt-4o",
            next_look_at=at,
        )
    )
    add(
        BatchItem(
            batch=batch,
            job=job,
            tenant=tenant,
            line=1,
            custom_id="one",
            attempt_id=uuid4(),
            request_id=uuid4(),
            model="gpt-4o",
            provider="openai",
            body={"messages": [{"content": "a prompt nobody may read"}]},
        )
    )
    scope = {"tenant": tenant, "scope_digest": b"s" * 32}
    add(
        CacheEntry(
            **scope,
            question_digest=os.urandom(16),
            embedder="minilm",
            vector=[0.05] * 384,
            question="How do I top up my card?",
            answer=b"packed",
            circle="tenant",
            endpoint="chat",
            route="auto",
            model="gpt-4o",
            created_at=at,
            last_hit_at=at,
            expires_at=at + timedelta(days=1),
        )
    )
    if CacheScope not in office.rows:
        add(
            CacheScope(
                **scope,
                circle="tenant",
                endpoint="chat",
                route="auto",
                embedder="minilm",
                max_error_rate=0.02,
                threshold=0.93,
                created_at=at,
                updated_at=at,
            )
        )
    add(
        DeferredJob(
            tenant=tenant,
            public_id=f"job_{uuid4().hex}",
            key_id=1,
            key_name="main",
            endpoint="/v1/chat/completions",
            status="queued",
            lane="batch",
            request_id=uuid4(),
            model_asked="m",
            body={"messages": ["a prompt nobody may read"]},
            created_at=at,
            deadline_at=at + timedelta(days=1),
            move_up_at=at + timedelta(days=1),
        )
    )
    add(
        AskedQuestion(
            tenant=tenant,
            exact_key=f"purser:{uuid4().hex}",
            question="a prompt nobody may read",
            hits=3,
            expires_at=at,
            noted_at=at,
        )
    )
    add(CacheLabel(**scope, similarity=0.9, is_wrong=False, source="miss", at=at))
    add(CacheStat(tenant=tenant, hour=at, cache="exact", outcome="hit", count=1))
    add(KeptItem(tenant=tenant, item_id=f"msg_{uuid4().hex}", provider="openai"))
    add(
        KeptResponse(
            tenant=tenant, response_id=f"resp_{uuid4().hex}", provider="p", model="m", context_tokens=9
        ),
    )
    text = b"a prompt nobody may read"
    add(StoredChat(tenant=tenant, public_id=f"chatcmpl-{uuid4().hex}", model="m", asked=text, answer=text))


def _money(office: Office, tenant: Tenant, key: ApiKey) -> None:
    at, add = now(), office.add
    budget = add(
        Budget(
            tenant=tenant,
            scope="user",
            value=uuid4().hex[:8],
            unit="usd",
            period="day",
            limit_amount=Decimal(5),
        )
    )
    add(BudgetRaise(budget=budget, extra_amount=1, ends_at=at + timedelta(days=1), reason="launch"))
    add(
        RaiseRequest(
            tenant=tenant,
            budget=budget,
            extra_amount=2,
            ends_at=at + timedelta(days=2),
            expires_at=at + timedelta(days=2),
            reason="month's end",
            requested_by=office.fay,
        )
    )
    add(
        EstimateAccuracy(
            provider="openai",
            model=uuid4().hex[:8],
            shape="text",
            samples=1,
            learned_from=0,
            input_factor=1,
            hold_usd=2,
            billed_usd=1,
            short=0,
            output_p50=1,
            output_p95=2,
        )
    )
    window = BudgetWindow(
        budget=budget, tenant=tenant, subject="bob", unit="usd", spent=4, held=Decimal("0.5")
    )
    window.starts_at, window.ends_at = at - timedelta(hours=1), at + timedelta(hours=1)
    add(window)
    period = BillingPeriod.objects.filter(tenant=tenant, status="open").first() or add(
        BillingPeriod(
            tenant=tenant,
            label=f"{at:%Y-%m}",
            starts_at=at - timedelta(days=40),
            ends_at=at + timedelta(days=40),
        )
    )
    attempt = add(
        Attempt(
            id=uuid4(),
            tenant=tenant,
            request_id=uuid4(),
            attempt_no=1,
            key_id=key.pk,
            provider="openai",
            model="gpt-4o",
            occurred_at=at,
            hold_usd=1,
            hold_tokens=10,
            expires_at=at,
        )
    )
    record = add(
        UsageRecord(
            id=attempt.pk,
            occurred_at=at,
            tenant=tenant,
            period=period,
            attempt=attempt,
            usage_source="provider",
            key_id=key.pk,
            provider="openai",
            model="gpt-4o",
            user_id="bob",
            cache_state="refresh",
            input_tokens=1000,
            list_cost=Decimal("0.02"),
            contracted_cost=Decimal("0.0125"),
            billed_cost=Decimal("0.0125"),
            saving={"routing": "0.0075"},
            raw_usage={"prompt_tokens": 1000},
        )
    )
    UsageLine.objects.create(
        record_id=record.pk, line_no=1, occurred_at=at, tenant=tenant, meter="input", quantity=1000, per=1_000_000,
        unit_price=Decimal("12.5"), list_cost=Decimal("0.0125"), provider_cost=Decimal("0.0125"),
        contracted_cost=Decimal("0.0125"), billed_cost=Decimal("0.0125"),
    )  # fmt: skip
    add(
        UsageDaily(
            tenant=tenant,
            day=at.date(),
            model="gpt-4o",
            requests=1,
            list_cost=Decimal("0.02"),
            billed_cost=Decimal("0.0125"),
        )
    )
    add(RollupDirty(tenant=tenant, day=at.date()))
    add(
        PriceRow(
            provider="openai",
            model=f"gpt-{uuid4().hex[:8]}",
            meter="input",
            unit_price=Decimal("2.5"),
            valid_from=at - timedelta(days=1),
            source="test",
        )
    )
    add(PriceProposal(source="genai-prices", digest=uuid4().hex * 2, diff={"models": ["openai/gpt-9"]}))
    _closing(office, tenant)
    add_reconciliation(office)
    channel = add(
        AlertChannel(
            tenant=tenant,
            name=uuid4().hex[:8],
            kind="webhook",
            target="https://example.com/hook",
            secret=HOOK_SECRET,
        )
    )
    rule = add(
        AlertRule(tenant=tenant, metric="request_cost", threshold=Decimal(AlertRule.objects.count() + 1))
    )
    rule.channels.add(channel)
    event = add(
        AlertEvent(
            tenant=tenant,
            rule=rule,
            metric="request_cost",
            subject_key=uuid4().hex,
            value=2,
            threshold=1,
            message="One request cost 2 USD",
        )
    )
    add(AlertDelivery(event=event, channel=channel))


def _closing(office: Office, tenant: Tenant) -> None:
    at = now()
    proposal = propose_entry(tenant, amount_usd=Decimal("0.25"), reason="goodwill")
    entry = ManualEntry.objects.get(pk=proposal.pk)
    rule = set_rule(tenant, priority=RateRule.objects.count() + 1, kind="discount_pct", value=Decimal(5))
    office.rows.setdefault(ManualEntry, entry)
    office.rows.setdefault(EntryProposal, proposal)
    add_contracts(office, tenant)
    office.rows.setdefault(RateRule, rule)
    split = {"name": "rest", "source": "unallocated", "method": "even", "first_month": "2020-01"}
    office.rows.setdefault(SplitRule, set_split(tenant, **split))
    taxed = {"legal_name": "Recipient Ltd", "tax": "vat", "vat_percent": Decimal(19)}
    details, _ = BillingDetails.objects.get_or_create(tenant=tenant, defaults=taxed)
    office.rows.setdefault(BillingDetails, details)
    zeros = dict.fromkeys(("list_delta", "provider_delta", "contracted_delta", "billed_delta"), 0)
    office.add(
        Rerating(
            tenant=tenant,
            starts_at=at,
            ends_at=at,
            reason="a late price",
            digest="d",
            record_count=0,
            **zeros,
        )
    )
