"""Operators switch accounts and models off and on while calls are made: seen over HTTP, by every web process."""

import asyncio
import os
from collections.abc import Callable
from time import monotonic

import aiohttp
import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from llm.models import LanguageModel, Provider
from tenants.rls import CHANNEL
from tenants.snapshots.feed import EVERYTHING
from tests.admin.pressing import author_of, press
from tests.api.conftest import ask, fresh_question
from tests.books import Books, eventually
from tests.llm.conftest import Spread
from tests.world import Deployment, Member, World

CALLS = 8  # on connections of their own, so that every web process answers some


def answers(world: World, member: Member, model: str) -> set[tuple[int, str]]:
    """Status, and error code or the model that answered, of the same call on many fresh connections at one time."""

    async def look() -> set[tuple[int, str]]:
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            return set(await asyncio.gather(*(one(session) for _ in range(CALLS))))

    async def one(session: aiohttp.ClientSession) -> tuple[int, str]:
        body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": fresh_question()}]}
        headers = {"authorization": f"Bearer {member.key}"}
        url = f"{world.stack.base_url}/v1/chat/completions"
        async with session.post(url, json=body, headers=headers) as response:
            answer = await response.json()
            return response.status, answer["error"]["code"] if "error" in answer else answer["purser"][
                "model"
            ]

    return asyncio.run(look())


def account_of(deployment: Deployment) -> Provider:
    return Provider.objects.get(name=deployment.provider)


def model_of(deployment: Deployment) -> LanguageModel:
    return LanguageModel.objects.get(name=deployment.model)


def test_it_works(
    world: World, member: Member, operator: Client, make_deployment: Callable[..., Deployment]
) -> None:
    """A model without a fallback is refused as not available by every process, and comes back."""
    deployment = make_deployment()
    model = model_of(deployment)
    assert answers(world, member, deployment.model) == {(200, deployment.model)}
    press(operator, "llm_languagemodel_switch_off", model.pk, reason="answers nonsense")
    eventually(
        lambda: answers(world, member, deployment.model) == {(503, "provider_unavailable")},
        patience_seconds=10,
    )
    status, error = world.request(
        "POST",
        "/v1/messages",
        {"model": deployment.model, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]},
        member=member,
    )
    assert (status, error["type"], error["error"]["type"]) == (503, "error", "overloaded_error")
    assert f"The model '{deployment.model}' is switched off" in error["error"]["message"]
    model.refresh_from_db()
    assert author_of(model)[1] == "answers nonsense"
    press(operator, "llm_languagemodel_switch_on", model.pk)
    eventually(lambda: answers(world, member, deployment.model) == {(200, deployment.model)})


@pytest.mark.parametrize(
    ("off", "on", "refusal"),
    [
        ("tenants_tenant_suspend", "tenants_tenant_resume", (403, "tenant_suspended")),
        ("llm_languagemodel_switch_off", "llm_languagemodel_switch_on", (503, "provider_unavailable")),
        ("llm_provider_disable", "llm_provider_enable", (503, "provider_unavailable")),
    ],
)
def test_a_switch_is_announced_and_then_every_process_obeys(
    world: World,
    operator: Client,
    make_tenant: Callable[..., Member],
    make_deployment: Callable[..., Deployment],
    record_property: Callable[[str, object], None],
    off: str,
    on: str,
    refusal: tuple[int, str],
) -> None:
    """How soon is printed (pytest -rP), and no matter of the test."""
    deployment, member = make_deployment(), make_tenant("switched")
    pk = {
        "tenants": member.id,
        "llm_languagemodel": model_of(deployment).pk,
        "llm_provider": account_of(deployment).pk,
    }[next(start for start in ("tenants", "llm_languagemodel", "llm_provider") if off.startswith(start))]
    assert answers(world, member, deployment.model) == {(200, deployment.model)}
    for button, expected in ((off, refusal), (on, (200, deployment.model))):
        with psycopg.connect(
            os.environ["DATABASE_URL"], dbname=connection.settings_dict["NAME"], autocommit=True
        ) as feed:
            feed.execute(f"LISTEN {CHANNEL}")
            press(operator, button, pk)
            pressed = monotonic()
            payload = next(feed.notifies(timeout=30)).payload
        assert payload in (EVERYTHING, str(member.id))
        eventually(lambda: answers(world, member, deployment.model) == {expected})  # noqa: B023
        seconds = monotonic() - pressed
        assert answers(world, member, deployment.model) == {expected}, "and it stays so"
        record_property(button, seconds)
        print(f"{button}: {CALLS} new calls on both processes obey {seconds:.2f} s after the press")


def test_a_model_is_switched_off_at_one_of_its_accounts(
    world: World, member: Member, operator: Client, books: Books, make_spread: Callable[..., Spread]
) -> None:
    spread = make_spread({}, {"weight": 5})
    model = LanguageModel.objects.get(name=spread.model)
    further = model.deployments.get()
    url = reverse("admin:llm_languagemodel_switch_accounts", args=(model.pk,))
    dialog = operator.get(url).content.decode()
    assert f"{further.provider.name}: 0 calls of 0 tenants in the last hour" in dialog
    assert "Without it: goes on at" in dialog
    further.refresh_from_db()
    assert further.is_active, "looking changes nothing"
    press(operator, "llm_languagemodel_switch_accounts", model.pk, on=[], reason="too dear")
    further.refresh_from_db()
    assert not further.is_active
    assert author_of(further)[1] == "too dear"
    _, second = spread.accounts

    def goes_to_the_first_alone() -> bool:
        before = len(books.calls(key=second.account_key))
        assert answers(world, member, spread.model) == {(200, spread.model)}
        return len(books.calls(key=second.account_key)) == before

    eventually(goes_to_the_first_alone)
    press(operator, "llm_languagemodel_switch_accounts", model.pk, on=[str(further.pk)])
    eventually(lambda: _went_to(books, second, world, member, spread.model))


def test_no_form_switches_what_is_declared(operator: Client, make_spread: Callable[..., Spread]) -> None:
    model = LanguageModel.objects.get(name=make_spread({}, {}).model)
    page = operator.get(reverse("admin:llm_languagemodel_change", args=(model.pk,))).content.decode()
    assert "deployments-0-weight" in page
    assert "deployments-0-is_active" not in page


def test_the_fallbacks_of_a_model_that_is_off_answer(
    world: World, member: Member, operator: Client, make_deployment: Callable[..., Deployment]
) -> None:
    understudy = make_deployment()
    deployment = make_deployment(fallbacks=[understudy.model])
    press(operator, "llm_languagemodel_switch_off", model_of(deployment).pk)
    eventually(lambda: answers(world, member, deployment.model) == {(200, understudy.model)})


def test_the_dialog_says_the_effect_in_figures(
    world: World, member: Member, operator: Client, make_deployment: Callable[..., Deployment]
) -> None:
    understudy = make_deployment()
    deployment = make_deployment(fallbacks=[understudy.model])
    client = world.openai(member)
    for _ in range(3):
        ask(client, model=deployment.model, max_tokens=5)
    model, account = model_of(deployment), account_of(deployment)

    def said(button: str, pk: int) -> str:
        return operator.get(reverse(f"admin:{button}", args=(pk,))).content.decode()

    eventually(lambda: "answered 3 calls of 1 tenant" in said("llm_languagemodel_switch_off", model.pk))
    assert f"answered by its fallbacks, {understudy.model}" in said("llm_languagemodel_switch_off", model.pk)
    effect = said("llm_provider_drain", account.pk)
    assert "answered 3 calls of 1 tenant" in effect
    assert f"{deployment.model} (3 calls): answered by its fallbacks, {understudy.model}" in effect
    assert "No batch is under way there." in effect
    lonely = account_of(understudy)
    assert "refused with 503 provider_unavailable" in said("llm_provider_disable", lonely.pk)
    model.refresh_from_db()
    assert model.is_active, "looking changes nothing"


def test_a_drained_account_gets_no_new_call_and_ends_what_runs(
    world: World, member: Member, operator: Client, books: Books, make_spread: Callable[..., Spread]
) -> None:
    """The stream that runs comes to its end; the calls after it go to the other account."""
    spread = make_spread({}, {"weight": 0})
    first, second = spread.accounts
    world.fault(fault="drip", match={"key": first.account_key}, delay_ms=50)
    with world.openai(member).chat.completions.create(
        model=spread.model,
        messages=[{"role": "user", "content": "Write 60 words."}],
        stream=True,
        max_tokens=120,
    ) as stream:
        begun = next(iter(stream))
        assert begun
        press(operator, "llm_provider_drain", account_of(first).pk, reason="maintenance")
        eventually(lambda: account_of(first).state == "draining")
        eventually(lambda: _went_to(books, second, world, member, spread.model))
        before = len(books.calls(key=first.account_key))
        assert answers(world, member, spread.model) == {(200, spread.model)}
        assert len(books.calls(key=first.account_key)) == before
        rest = list(stream)
    assert rest[-1].choices == [] or rest[-1].choices[0].finish_reason, "the stream ended as it should"
    press(operator, "llm_provider_enable", account_of(first).pk)
    assert account_of(first).state == "active"
    eventually(lambda: _went_to(books, first, world, member, spread.model))


def _went_to(books: Books, account: Deployment, world: World, member: Member, model: str) -> bool:
    before = len(books.calls(key=account.account_key))
    answers(world, member, model)
    return len(books.calls(key=account.account_key)) == before + CALLS


def test_a_model_at_a_drained_account_alone_is_refused(
    world: World, member: Member, operator: Client, make_deployment: Callable[..., Deployment]
) -> None:
    deployment = make_deployment()
    press(operator, "llm_provider_disable", account_of(deployment).pk, reason="invoice disputed")
    assert account_of(deployment).state == "disabled"
    eventually(lambda: answers(world, member, deployment.model) == {(503, "provider_unavailable")})


@pytest.mark.parametrize("kind", ["openai", "anthropic", "azure"])
def test_a_connection_is_tested_with_the_accounts_key(
    kind: str, operator: Client, make_deployment: Callable[..., Deployment]
) -> None:
    said = _tested(operator, account_of(make_deployment(kind)))
    assert "answered within" in said
    assert "models." in said


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("http://169.254.169.254/v1", "is not a public address"),
        ("http://127.0.0.1:9/v1", "cannot be reached"),
        ("{sandbox}/nowhere", "answered 404"),
    ],
)
def test_a_connection_that_fails_says_why(
    base_url: str, words: str, world: World, operator: Client, make_deployment: Callable[..., Deployment]
) -> None:
    deployment = make_deployment(base_url=base_url.format(sandbox=world.stack.sandbox_url))
    said = _tested(operator, account_of(deployment))
    assert words in said
    assert deployment.account_key not in said


def test_a_key_that_is_refused_is_told_and_not_shown(
    world: World, operator: Client, make_deployment: Callable[..., Deployment]
) -> None:
    deployment = make_deployment()
    world.fault(fault="status:401", match={"key": deployment.account_key}, message="bad key")
    said = _tested(operator, account_of(deployment))
    assert "answered 401" in said
    assert deployment.account_key not in said


def _tested(operator: Client, account: Provider) -> str:
    press(operator, "llm_provider_test_connection", account.pk)
    return operator.get(reverse("admin:llm_provider_change", args=(account.pk,))).content.decode()


def test_a_stranger_switches_nothing(make_deployment: Callable[..., Deployment]) -> None:
    account = account_of(make_deployment())
    url = reverse("admin:llm_provider_drain", args=(account.pk,))
    assert Client().post(url, {"_form_submitted": "on"}).status_code in (302, 403)
    account.refresh_from_db()
    assert account.state == "active"
