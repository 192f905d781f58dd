"""A deployment at Azure through the running product: answers, streams and vectors in the ledger; what it lacks by name."""

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from billing.reconciliation.provider_reports import InvalidReport
from llm.batches.plans.accounts import batch_api
from llm.configuration import ConfigurationError, apply_configuration
from llm.models import Provider
from llm.providers.kinds.batch_api import UpstreamError
from llm.reconciliation.pulling import CannotPull, pull, upload
from tests.billing.reconciliation.conftest import span
from tests.books import Books, eventually
from tests.world import Deployment, World, declare_deployment

ASK: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 40,
}


@pytest.fixture
def azure(make_deployment: Callable[..., Deployment]) -> Deployment:
    return make_deployment("azure")


def test_it_works(world: World, books: Books, azure: Deployment) -> None:
    """Whole, streamed, and for a client of Anthropic's API: each asked at the deployment, each billed by its usage."""
    client = world.openai()
    whole = client.chat.completions.create(model=azure.model, **ASK)
    assert "france" in whole.choices[0].message.content
    chunks = list(client.chat.completions.create(model=azure.model, stream=True, seed=1, **ASK))
    assert "france" in "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    message = world.anthropic().messages.create(model=azure.model, **ASK, system="Be brief.")
    assert message.content[0].text
    calls = world.control("GET", f"/calls?key={azure.account_key}")["calls"]
    assert {call["path"] for call in calls} == {"/openai/deployments/gpt-4o-mini/chat/completions"}
    books.settled(world.acme.id, count=3)
    rows = books.rows(world.acme.id)
    assert {row.usage_source for row in rows} == {"provider"}
    assert {row.provider for row in rows} == {azure.provider}


def test_embeddings(world: World, books: Books) -> None:
    deployment, document = declare_deployment(
        world.stack.sandbox_url, kind="azure", upstream="text-embedding-3-small"
    )
    document["models"][0]["kind"] = "embedding"
    apply_configuration(json.dumps(document), source="azure.yaml", environ={})
    vectors = world.openai().embeddings.create(model=deployment.model, input=["one", "two"])
    assert len(vectors.data) == 2
    (call,) = world.control("GET", f"/calls?key={deployment.account_key}")["calls"]
    assert call["path"] == "/openai/deployments/text-embedding-3-small/embeddings"
    books.settled(world.acme.id, count=1)


def test_responses_are_refused_by_name(world: World, azure: Deployment) -> None:
    with pytest.raises(openai.BadRequestError, match="a provider of kind azure, which has no /responses"):
        world.openai().responses.create(model=azure.model, input="Hi")


def test_a_batch_is_answered_in_real_time(world: World, books: Books, azure: Deployment, celery: Any) -> None:
    """Its API for batches is another one, which we do not speak."""
    batches = world.anthropic().messages.batches
    order = batches.create(requests=[{"custom_id": "a", "params": {"model": azure.model, **ASK}}])
    eventually(
        lambda: batches.retrieve(order.id),
        until=lambda batch: batch.processing_status == "ended",
        patience_seconds=90,
    )
    [entry] = batches.results(order.id)
    assert "france" in entry.result.message.content[0].text
    [call] = world.control("GET", f"/calls?key={azure.account_key}")["calls"]
    assert call["path"] == "/openai/deployments/gpt-4o-mini/chat/completions"
    books.settled(world.acme.id, count=1)
    assert [row.processing for row in books.rows(world.acme.id)] == ["online"]


def test_a_job_goes_to_no_other_batch_api(azure: Deployment) -> None:
    """Where an account has become one of Azure's after the batch was checked."""
    with pytest.raises(UpstreamError, match="kind azure, which has no batches") as caught:
        batch_api(azure.provider)
    assert caught.value.is_final


def test_cost_reports_are_refused_by_name(azure: Deployment) -> None:
    account = Provider.objects.get(name=azure.provider)
    account.admin_api_key = "sk-admin"
    first, last, at = span()
    with pytest.raises(CannotPull, match="kind azure, which has no cost reports"):
        pull(account, first=first, last=last, at=at)
    with pytest.raises(InvalidReport, match="kind azure, which has no cost reports"):
        upload(account, b"{}")


def test_an_account_says_its_api_version(committed: None) -> None:
    account = {
        "name": "azure-eu",
        "kind": "azure",
        "base_url": "https://acme.openai.azure.com",
        "api_key": "k",
    }
    with pytest.raises(
        ConfigurationError, match=r"providers\[0\].options: a provider of kind azure needs api_version"
    ):
        apply_configuration(json.dumps({"providers": [account]}), source="azure.yaml", environ={})
