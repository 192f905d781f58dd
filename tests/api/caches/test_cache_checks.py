"""A share of the hits of bounded mode is asked upstream beside the answer, and booked as what it is."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.api.caches.test_caching import PARAPHRASE, QUESTION
from tests.api.conftest import ask
from tests.books import Books, eventually
from tests.world import Deployment, Member, World

# 5 % are drawn: that none of so many is, is less likely than a broken machine.
MANY = 800


def open_scope(tenant_id: int) -> None:
    """As if enough evidence had come in."""
    from caching.models import CacheEntry, CacheScope

    entry = eventually(lambda: CacheEntry.objects.filter(tenant_id=tenant_id).first())
    now = datetime.now(UTC)
    CacheScope.objects.create(
        tenant_id=tenant_id,
        scope_digest=entry.scope_digest,
        threshold=0.05,
        max_error_rate=0.05,
        created_at=now,
        updated_at=now,
    )


def bounded(**changes: Any) -> dict[str, Any]:
    return {"cache": {"semantic": "bounded", "max_error_rate": 0.05, **changes}}


def test_a_hit_is_checked_beside_it(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment: Callable[..., Deployment]
) -> None:
    from caching.models import CacheLabel

    budget = {"scope": "user", "unit": "usd", "period": "day", "limit": "1", "mode": "hard"}
    requests = {"scope": "tenant", "unit": "requests", "period": "day", "limit": "10000", "mode": "hard"}
    member, deployment = make_tenant(policy=bounded(), budgets=[budget, requests]), make_deployment()
    client = world.openai(member)
    ask(client, QUESTION, model=deployment.model, user="alice")
    open_scope(member.id)
    for _ in range(MANY):
        hit = ask(client, PARAPHRASE, model=deployment.model, user="alice")
        assert hit.headers["x-purser-cache"] in ("semantic", "exact")
        if hit.headers["x-purser-cache"] == "exact":
            break  # the check's answer is kept for the question that was asked
    # more than one hit may have been drawn before the first check's answer was there
    calls = books.ended_calls(count=2, key=deployment.account_key)
    [bought, check, *_] = eventually(
        lambda: [row for row in books.rows(member.id) if row.usage_source == "provider"],
        until=lambda rows: len(rows) == len(calls),
    )
    assert (check.cache_state, check.user_id) == ("check", "")
    assert check.billed_cost > 0
    assert (check.list_cost, check.saving) == (0, {"gateway_cache": f"{-check.billed_cost:f}"})
    assert bought.cache_state == "miss"
    books.check_invoice(member.id, calls)
    label = eventually(lambda: CacheLabel.objects.filter(tenant_id=member.id).first())
    assert (label.source, label.weight) == ("check", 20)
    spent = [window.spent for window in books.windows(member.id) if window.unit == "usd"]
    assert spent == [bought.billed_cost]
    counted = [window.spent for window in books.windows(member.id) if window.unit == "requests"]
    assert counted == [1]  # nobody made the check a request
    log = books.log(check.request_id)
    assert (log.cache_state, log.is_stream) == ("check", False)


def test_no_budget_for_checks_no_checks(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment: Callable[..., Deployment]
) -> None:
    member, deployment = make_tenant(policy=bounded(check_usd_per_day=0)), make_deployment()
    client = world.openai(member)
    ask(client, QUESTION, model=deployment.model)
    open_scope(member.id)
    for _ in range(MANY // 8):
        assert ask(client, PARAPHRASE, model=deployment.model).headers["x-purser-cache"] == "semantic"
    assert len(books.calls(key=deployment.account_key)) == 1
    assert sum((row.billed_cost for row in books.rows(member.id)), Decimal(0)) > 0


def test_a_check_is_asked_at_the_flex_price_where_there_is_one(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment: Callable[..., Deployment]
) -> None:
    prices = [
        {"meter": "input", "usd_per_million": "1"},
        {"meter": "output", "usd_per_million": "4"},
        {"meter": "input", "processing": "flex", "usd_per_million": "0.5"},
        {"meter": "output", "processing": "flex", "usd_per_million": "2"},
    ]
    member, deployment = make_tenant(policy=bounded()), make_deployment(prices=prices)
    client = world.openai(member)
    ask(client, QUESTION, model=deployment.model)
    open_scope(member.id)
    for _ in range(MANY):
        if ask(client, PARAPHRASE, model=deployment.model).headers["x-purser-cache"] == "exact":
            break
    rows = eventually(
        lambda: [row for row in books.rows(member.id) if row.usage_source == "provider"],
        until=lambda rows: len(rows) == len(books.calls(key=deployment.account_key)) > 1,
    )
    # more than one hit may have been drawn before the first check's answer was there
    checks = [("check", "flex")] * (len(rows) - 1)
    assert [(row.cache_state, row.processing) for row in rows] == [("miss", "online"), *checks]
