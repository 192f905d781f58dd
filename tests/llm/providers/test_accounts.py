"""One model at several accounts: who is asked how often, and what happens when one of them fails."""

import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import openai
import pytest
from django.contrib.auth.models import User
from django.test import Client

from billing.models import PriceRow
from llm.models import LanguageModel, Provider
from tests.api.conftest import ask, purser_of
from tests.books import Books, eventually
from tests.llm.conftest import Spread
from tests.world import Member, World

MakeSpread = Callable[..., Spread]


def ask_often(world: World, member: Member, model: str, *, times: int) -> None:
    client = world.openai(member)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: ask(client, model=model, max_tokens=20), range(times)))


def test_it_works(world: World, books: Books, member: Member, make_spread: MakeSpread) -> None:
    """Calls are shared out by weight; the invoices of all accounts together are the ledger."""
    spread = make_spread({"weight": 3}, {"weight": 1}, {"weight": 0})
    ask_often(world, member, spread.model, times=120)
    first, second, spare = spread.calls(books)
    assert (first + second, spare) == (120, 0)
    assert 62 <= first <= 116  # 90, give or take six deviations
    assert {row.provider for row in books.rows(member.id)} == {
        account.provider for account in spread.accounts[:2]
    }
    books.settled(member.id, count=120)
    books.check_invoice(member.id, [call for key in spread.keys for call in books.calls(key=key)])
    books.check_windows(member.id)


def test_an_account_that_fails_is_stood_in_for_at_once(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(fault="status:500", match={"key": spread.keys[0]}, times=-1)
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    request_id = purser_of(answer)["request_id"]
    assert answer.headers["x-purser-model"] == spread.model
    assert spread.calls(books) == [1, 1]
    attempts = books.settled(member.id, count=2)
    assert [attempt.state for attempt in attempts] == ["voided", "captured"]
    assert [attempt.provider for attempt in attempts] == [one.provider for one in spread.accounts]
    receipt = books.log(request_id).receipt
    assert [attempt["why"] for attempt in receipt["attempts"]] == [
        "first choice",
        "another account after provider_error (500)",
    ]
    (account,) = [step for step in receipt["steps"] if step["step"] == "account"]
    assert [one["weight"] for one in account["considered"]] == [1000, 0.001]
    books.check_windows(member.id)


def test_an_account_that_does_not_have_the_model_is_stood_in_for(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(
        fault="status:404",
        code="model_not_found",
        message="The model `x` does not exist",
        match={"key": spread.keys[0]},
    )
    assert ask(world.openai(member), model=spread.model, max_tokens=20).parse().choices
    assert spread.calls(books) == [1, 1]
    assert [one.state for one in books.settled(member.id, count=2)] == ["voided", "captured"]


def test_what_is_wrong_with_the_request_is_told_by_the_first_account(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({}, {})
    for key in spread.keys:
        world.fault(fault="status:400", match={"key": key})
    with pytest.raises(openai.BadRequestError):
        ask(world.openai(member), model=spread.model, max_tokens=20)
    assert sorted(spread.calls(books)) == [0, 1]


@pytest.mark.parametrize("status", [401, 403])
def test_an_account_with_a_bad_key_is_stood_in_for(
    world: World, books: Books, member: Member, make_spread: MakeSpread, status: int
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0.001})
    world.fault(fault=f"status:{status}", match={"key": spread.keys[0]}, times=-1)
    assert ask(world.openai(member), model=spread.model, max_tokens=20).parse().choices
    assert spread.calls(books) == [1, 1]


def test_an_account_added_in_the_admin_has_the_models_prices(world: World, make_deployment: Callable) -> None:
    """An operator adds an account to a model on the model's page; calls there are billed as at the first one."""
    first, second = make_deployment(), make_deployment()
    model = LanguageModel.objects.get(name=first.model)
    account = Provider.objects.get(name=second.provider)
    client = Client()
    client.force_login(User.objects.create_superuser(f"olga-{secrets.token_hex(4)}"))
    address = f"/admin/llm/languagemodel/{model.pk}/change/"
    form = client.get(address).context["adminform"].form
    posted = {
        name: json.dumps(value) if isinstance(value, list | dict) else value
        for name, value in form.initial.items()
        if value is not None
    }
    posted |= {
        "deployments-TOTAL_FORMS": 1,
        "deployments-INITIAL_FORMS": 0,
        "deployments-0-provider": account.pk,
        "deployments-0-weight": 2,
        "deployments-0-timeouts": '{"first_byte": 20}',
        "deployments-0-is_active": "on",
    }
    response = client.post(address, posted)
    assert response.status_code == 302, response.context["errors"]
    added = model.deployments.get()
    assert (added.provider, added.weight, added.timeouts) == (account, 2, {"first_byte": 20})
    prices = {
        provider: set(
            PriceRow.objects.filter(provider=provider, model=model.name, superseded_at=None).values_list(
                "meter", "unit_price"
            )
        )
        for provider in (first.provider, second.provider)
    }
    assert prices[first.provider] == prices[second.provider] != set()


def test_an_account_that_keeps_failing_gets_no_more_calls(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({}, {})
    world.fault(fault="status:500", match={"key": spread.keys[0]}, times=-1)
    ask_often(world, member, spread.model, times=100)
    failing, well = spread.calls(books)
    assert well == 100
    assert failing <= 30  # instead of 50: two workers, five failures or so each until it rests, and probes
    assert {attempt.state for attempt in books.settled(member.id)} == {"voided", "captured"}


def test_a_resting_account_is_skipped_without_a_call_and_the_receipt_says_so(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0})
    for key in spread.keys:
        world.fault(fault="status:500", match={"key": key}, times=-1)

    def refused() -> tuple[openai.APIStatusError, dict]:
        with pytest.raises(openai.APIStatusError) as caught:
            ask(world.openai(member), model=spread.model, max_tokens=20)
        return caught.value, books.log(caught.value.response.headers["x-request-id"]).receipt

    # the first calls find it out, in each worker by itself
    error, receipt = eventually(refused, until=lambda found: not found[1]["attempts"], patience_seconds=60)
    skipped = [step for step in receipt["steps"] if step["step"] == "hop"]
    assert [step["reason"] for step in skipped] == ["keeps failing, given a rest"] * 2
    assert int(error.response.headers["retry-after"]) >= 1


def test_an_account_at_its_limits_is_passed_over_while_another_is_free(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000, "limits": {"rpm": 1}}, {"weight": 0.001})
    began = time.monotonic()
    ask_often(world, member, spread.model, times=12)
    limited, free = spread.calls(books)
    assert limited + free == 12
    assert 1 <= limited <= 2 + (time.monotonic() - began) / 60
    receipts = [log.receipt for log in _logs(member)]
    passed_over = [step for receipt in receipts for step in receipt["steps"] if step["step"] == "hop"]
    assert {step["reason"] for step in passed_over} == {"at the limits of its account"}
    assert len(passed_over) >= free


def test_an_account_of_another_protocol_answers_as_well(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    """The accounts of a model need not speak the same protocol: each hop is translated for itself."""
    from llm.configuration import apply_configuration

    spread = make_spread({"weight": 1000}, {"weight": 0, "upstream": "claude-haiku-4-5"})
    other = {
        "name": spread.accounts[1].provider,
        "kind": "anthropic",
        "base_url": world.stack.sandbox_url,
        "api_key": spread.keys[1],
    }
    apply_configuration(json.dumps({"providers": [other]}), source="kind.yaml", environ={})
    world.fault(fault="status:503", match={"key": spread.keys[0]}, times=-1)
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    assert answer.parse().choices[0].message.content
    (call,) = books.calls(key=spread.keys[1])
    assert (call["path"], call["model"]) == ("/v1/messages", "claude-haiku-4-5")
    books.settled(member.id, count=2)
    books.check_windows(member.id)


def test_an_account_with_prices_of_its_own_is_billed_at_them(
    world: World, books: Books, member: Member, make_spread: MakeSpread
) -> None:
    dear = [{"meter": "input", "usd_per_million": "100"}, {"meter": "output", "usd_per_million": "400"}]
    spread = make_spread({"weight": 0}, {"weight": 1, "prices": dear})
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    row = books.row(purser_of(answer)["request_id"])
    assert row.provider == spread.accounts[1].provider
    assert row.billed_cost == Decimal(row.input_tokens * 100 + row.output_tokens * 400) / 1_000_000


def test_a_provider_budget_that_is_used_up_leaves_the_other_accounts(
    world: World, books: Books, make_tenant: Callable[..., Member], make_spread: MakeSpread
) -> None:
    spread = make_spread({"weight": 1000}, {"weight": 0})
    member = make_tenant(
        budgets=[
            {
                "scope": "provider",
                "value": spread.accounts[0].provider,
                "unit": "tokens",
                "period": "day",
                "limit": 1,
                "mode": "hard",
            }
        ]
    )
    answer = ask(world.openai(member), model=spread.model, max_tokens=20)
    assert spread.calls(books) == [0, 1]
    receipt = books.log(purser_of(answer)["request_id"]).receipt
    (skipped,) = [step for step in receipt["steps"] if step["step"] == "hop"]
    assert skipped["provider"] == spread.accounts[0].provider
    assert skipped["reason"].startswith("budget_exceeded: ")


def test_a_fallback_that_does_not_fit_the_budget_is_skipped_with_that_reason(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment: Callable
) -> None:
    dear = make_deployment(
        prices=[{"meter": "input", "usd_per_million": "1000"}, {"meter": "output", "usd_per_million": "9000"}]
    )
    cheap = make_deployment()
    first = make_deployment(fallbacks=[dear.model, cheap.model])
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "0.05", "mode": "hard"}]
    )
    world.fault(fault="status:500", match={"key": first.account_key}, times=-1)
    answer = ask(world.openai(member), model=first.model, max_tokens=60)
    assert purser_of(answer)["model"] == cheap.model
    assert books.calls(key=dear.account_key) == []
    receipt = books.log(purser_of(answer)["request_id"]).receipt
    (skipped,) = [step for step in receipt["steps"] if step["step"] == "hop"]
    assert (skipped["model"], skipped["outcome"]) == (dear.model, "skipped")
    assert skipped["reason"].startswith("budget_exceeded: ")
    assert [attempt["why"] for attempt in receipt["attempts"]] == [
        "first choice",
        *["again after provider_error (500)"] * 2,
        "fallback after provider_error (500)",
    ]
    books.settled(member.id, count=4)
    books.check_windows(member.id)


def _logs(member: Member) -> list:
    from llm.models import RequestLog

    return eventually(
        lambda: list(RequestLog.objects.filter(tenant_id=member.id)), until=lambda logs: len(logs) >= 12
    )
