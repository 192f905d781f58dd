"""An id of what a provider keeps goes out for the tenant it was made for, or to an account of the tenant's own."""

import json
import os
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.api.conftest import ask, fresh_question
from tests.books import Books
from tests.world import Deployment, Member, World

MODEL = "gpt-4o-mini"


def respond(world: World, member: Member | None = None, model: str = MODEL, **body: Any) -> Any:
    return world.openai(member).responses.with_raw_response.create(model=model, **body)


def test_it_works(world: World, books: Books) -> None:
    first = respond(world, input=fresh_question()).parse()
    reference = {"type": "item_reference", "id": first.output[0].id}
    again = respond(world, input=[reference, {"role": "user", "content": "And?"}])
    assert again.status_code == 200
    assert again.headers["x-purser-cache"] == "bypass"
    request_id = again.headers["x-request-id"]
    (attempt,) = [one for one in books.attempts(world.acme.id) if str(one.request_id) == request_id]
    assert attempt.hold_tokens >= 100_000  # what it brings in is not seen here: it may fill the window


def test_anothers_item_is_nobodys(world: World) -> None:
    theirs = respond(world, world.outsider, input=fresh_question()).parse().output[0].id
    for told in (theirs, "msg_that_nobody_made"):
        with pytest.raises(openai.NotFoundError, match="of yours at the provider") as refused:
            respond(
                world, input=[{"type": "item_reference", "id": told}, {"role": "user", "content": "And?"}]
            )
        assert refused.value.param == "input.0.id"
        assert refused.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-x"}]}]},
            "input.0.content.0.file_id",
        ),
        (
            {"input": "x", "tools": [{"type": "file_search", "vector_store_ids": ["vs_x"]}]},
            "tools.0.vector_store_ids.0",
        ),
        ({"input": "x", "tools": [{"type": "code_interpreter", "container": "cntr_x"}]}, "tools.0.container"),
    ],
)
@pytest.mark.parametrize("model", [MODEL, "auto"])
def test_what_this_gateway_never_saw_is_refused_at_a_shared_account(
    world: World, body: dict[str, Any], param: str, model: str
) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        respond(world, model=model, **body)
    assert refused.value.param == param


def test_anthropics_clients_hear_it_in_their_envelope(world: World) -> None:
    with pytest.raises(anthropic.NotFoundError, match="container_x"):
        world.anthropic().messages.create(
            model="claude-haiku-4-5",
            max_tokens=20,
            messages=[{"role": "user", "content": "x"}],
            extra_body={"container": "container_x"},
        )


@pytest.fixture
def own(
    world: World, make_tenant: Callable[..., Member], make_deployment: Callable[..., Deployment]
) -> tuple[Member, Deployment]:
    """A tenant with a provider account of its own, which serves a model by itself."""
    from llm.configuration import apply_configuration

    deployment, member = make_deployment(), make_tenant()
    document = {"tenants": [{"slug": member.slug, "own_accounts": [deployment.provider]}]}
    apply_configuration(json.dumps(document), source="own.yaml", environ=os.environ, dry_run=False)
    return member, deployment


def test_an_own_account_takes_any_reference(world: World, own: tuple[Member, Deployment]) -> None:
    member, deployment = own
    answer = respond(
        world,
        member,
        deployment.model,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": fresh_question()},
                    {"type": "input_file", "file_id": "file-x"},
                ],
            }
        ],
    )
    assert answer.status_code == 200


def test_an_own_account_serves_nobody_else(world: World, own: tuple[Member, Deployment]) -> None:
    member, deployment = own
    assert ask(world.openai(member), model=deployment.model).headers["x-purser-model"] == deployment.model
    with pytest.raises(openai.NotFoundError, match="does not exist here"):
        ask(world.openai(), model=deployment.model)
    assert deployment.model not in {one.id for one in world.openai().models.list()}


def test_a_tenant_that_wants_its_own_accounts_alone_calls_no_other(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy={"own_accounts_only": True})
    with pytest.raises(openai.NotFoundError, match="does not exist here"):
        ask(world.openai(member))


def test_an_account_is_one_tenants_alone(world: World, own: tuple[Member, Deployment]) -> None:
    from llm.configuration import ConfigurationError, apply_configuration

    document = {"tenants": [{"slug": world.acme.slug, "own_accounts": [own[1].provider]}]}
    with pytest.raises(ConfigurationError, match="another tenant's own"):
        apply_configuration(json.dumps(document), source="own.yaml", environ=os.environ, dry_run=False)
