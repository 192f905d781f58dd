"""Every code of the contract's table, in the envelope of the API that was called."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anthropic
import openai
import pytest

from tests.api.conftest import ask, ask_claude, fresh_question, turns
from tests.books import Books, eventually
from tests.world import Deployment, Member, World

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def refusals(
    world: World, member: Member | None = None, *, key: str = "", model: str = "gpt-4o-mini", **options
) -> tuple[openai.APIStatusError, anthropic.APIStatusError]:
    """The same refused call through both SDKs."""
    text = fresh_question()
    with pytest.raises(openai.APIStatusError) as by_openai:
        ask(world.openai(member, key=key), text, model=model, **options)
    with pytest.raises(anthropic.APIStatusError) as by_anthropic:
        ask_claude(world.anthropic(member, key=key), text, model=model, **options)
    return by_openai.value, by_anthropic.value


def check(errors: tuple[openai.APIStatusError, anthropic.APIStatusError], status: int, code: str) -> str:
    """Assert status and code in both envelopes; return the message."""
    by_openai, by_anthropic = errors
    assert (by_openai.status_code, by_openai.code) == (status, code)
    assert set(by_openai.response.json()) == {"error"}
    assert {"message", "type", "param", "code"} <= set(by_openai.response.json()["error"])
    body = by_anthropic.response.json()
    assert (by_anthropic.status_code, body["type"]) == (status, "error")
    assert body["error"]["type"] == ANTHROPIC_TYPES[status]
    assert body["error"]["code"] == code
    for error in errors:
        assert error.response.headers["x-request-id"]
    assert body["request_id"] == by_anthropic.response.headers["x-request-id"]
    return by_openai.response.json()["error"]["message"]


def test_it_works(world: World) -> None:
    check(
        refusals(world, key="psr_0123456789abcdef_nobody-ever-issued-this-secret-00"), 401, "invalid_api_key"
    )


def test_no_key_is_an_invalid_one(world: World) -> None:
    request = urllib.request.Request(f"{world.stack.base_url}/v1/models")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 401
    assert json.load(caught.value)["error"]["code"] == "invalid_api_key"


def test_an_expired_key(world: World, make_tenant: Callable[..., Member]) -> None:
    from tenants.keys.editing import expire_key
    from tenants.models import ApiKey

    member = make_tenant()
    expire_key(ApiKey.objects.get(tenant=member.id), at=datetime.now(UTC) - timedelta(seconds=1))
    check(refusals(world, member), 401, "expired_api_key")


def test_a_revoked_key(world: World, make_tenant: Callable[..., Member]) -> None:
    from tenants.keys.editing import revoke_key
    from tenants.models import ApiKey

    member = make_tenant()
    revoke_key(ApiKey.objects.get(tenant=member.id))
    check(refusals(world, member), 401, "revoked_api_key")


def test_a_suspended_tenant(world: World, make_tenant: Callable[..., Member]) -> None:
    from tenants.models import Tenant
    from tenants.tenancy import suspend_tenant

    member = make_tenant()
    suspend_tenant(Tenant.objects.get(pk=member.id))
    check(refusals(world, member), 403, "tenant_suspended")


def test_a_model_outside_the_keys_list(world: World, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(key={"models": ["gpt-4.1-*"]})
    assert "gpt-4o-mini" in check(refusals(world, member), 403, "model_not_allowed")


def test_an_unknown_model(world: World) -> None:
    assert "gpt-9" in check(refusals(world, model="gpt-9"), 404, "model_not_found")


def test_an_unknown_path_is_not_found(world: World) -> None:
    status, body = world.get("/v1/nonsense")
    assert (status, body["error"]["code"]) == (404, "not_found")
    status, body = world.get("/v1/messages/nonsense")
    assert (status, body["error"]["code"]) == (404, "not_found")


def test_an_unpriced_model_is_never_called(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment(prices=[])
    check(refusals(world, model=deployment.model), 402, "model_unpriced")
    assert books.calls(key=deployment.account_key) == []
    assert books.attempts(world.acme.id) == []


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"model": 7}, "model"),
        ({"n": 0}, "n"),
    ],
)
def test_a_wrong_field_is_named(world: World, change: dict, param: str) -> None:
    body = {"model": "gpt-4o-mini", "messages": turns("Hello"), **change}
    status, answer = world.request("POST", "/v1/chat/completions", body)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_request", param)


@pytest.mark.parametrize("header", ["x-purser-cache", "x-purser-tier", "x-purser-compress", "x-purser-tags"])
def test_a_wrong_header_is_named(world: World, header: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(world.openai(), extra_headers={header: "nonsense"})
    assert (caught.value.code, caught.value.param) == ("invalid_request", header)


def test_a_body_that_is_no_json_is_refused(world: World) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/feedback"):
        request = urllib.request.Request(
            f"{world.stack.base_url}{path}",
            data=b'{"model": ',
            headers={"x-api-key": world.acme.key, "content-type": "application/json"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code == 400
        assert json.load(caught.value)["error"]["code"] == "invalid_request"


def test_a_prompt_longer_than_the_model_takes(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment(context_window=1000)
    text = "word " * 2000
    with pytest.raises(openai.BadRequestError) as caught:
        ask(world.openai(), text, model=deployment.model)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(anthropic.BadRequestError) as by_anthropic:
        ask_claude(world.anthropic(), text, model=deployment.model)
    assert by_anthropic.value.response.json()["error"]["code"] == "context_length_exceeded"
    assert by_anthropic.value.body["error"]["message"].startswith("prompt is too long: ")
    assert "This model's maximum context length is 1000 tokens." in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert books.calls(key=deployment.account_key) == []


def test_whether_a_prompt_fits_is_for_the_provider_to_say_where_the_count_is_a_guess(
    world: World, books: Books, make_deployment
) -> None:
    deployment = make_deployment(kind="anthropic", upstream="claude-haiku-4-5", context_window=1000)
    text = "word " * 900  # 1,080 tokens by our factor for Claude
    assert ask_claude(world.anthropic(), text, model=deployment.model).parse().content
    assert len(books.calls(key=deployment.account_key)) == 1
    shortened = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    ask_claude(
        world.anthropic(), text * 2, model=deployment.model, extra_body={"context_management": shortened}
    )
    ask_claude(
        world.anthropic(),
        text * 2,
        model=deployment.model,
        extra_headers={"anthropic-beta": "context-1m-2025-08-07"},
    )


def test_a_body_too_large(world: World) -> None:
    text = "x" * (21 * 1024 * 1024)
    with pytest.raises(openai.APIStatusError) as caught:
        ask(world.openai(), text)
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


def test_a_budget_that_is_spent(world: World, books: Books, make_tenant, make_deployment) -> None:
    deployment = make_deployment()
    member = make_tenant(
        budgets=[{"scope": "user", "unit": "tokens", "period": "day", "limit": "10", "mode": "hard"}]
    )
    errors = refusals(world, member, model=deployment.model, extra_headers={"x-purser-user": "alice"})
    message = check(errors, 429, "budget_exceeded")
    assert "user budget 'alice' of 10 tokens per day" in message
    assert "resets at" in message
    for error in errors:
        headers = error.response.headers
        assert headers["x-should-retry"] == "false"
        assert "retry-after" not in headers or int(headers["retry-after"]) <= 60
        resets_at = headers["x-purser-budget-resets-at"]
        assert resets_at in message
        assert timedelta() < datetime.fromisoformat(resets_at) - datetime.now(UTC) <= timedelta(hours=25)
    assert books.calls(key=deployment.account_key) == []
    log = books.log(errors[0].response.headers["x-request-id"])
    assert (log.status, log.error_code, log.cost_usd) == (429, "budget_exceeded", 0)


def test_a_rate_that_is_exceeded(world: World, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(rate_limits={"rpm": 1})
    answer = ask(world.openai(member))
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    errors = refusals(world, member)
    message = check(errors, 429, "rate_limit_exceeded")
    assert "requests per minute" in message
    for error in errors:
        assert 0 < int(error.response.headers["retry-after"]) <= 60
        assert "x-should-retry" not in error.response.headers
    styles = [
        {name.partition("ratelimit")[0] for name in error.response.headers if "ratelimit-" in name}
        for error in errors
    ]
    assert styles == [{"anthropic-" if isinstance(error, anthropic.APIError) else "x-"} for error in errors]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"fault": "status:500", "message": "The engine is on fire."}, 502, "provider_error"),
        ({"fault": "overload", "message": "Too much to do."}, 503, "provider_unavailable"),
        ({"fault": "timeout", "delay_ms": 3000}, 504, "provider_timeout"),
    ],
)
def test_a_provider_that_fails(
    world: World, make_deployment: Callable[..., Deployment], fault: dict, status: int, code: str
) -> None:
    deployment = make_deployment(timeouts={"first_byte": 0.3})
    world.fault(**fault, match={"key": deployment.account_key}, times=-1)
    text = fresh_question()
    with pytest.raises(openai.APIStatusError) as by_openai:
        ask(world.openai(), text, model=deployment.model)
    other = make_deployment(timeouts={"first_byte": 0.3})  # the first one may be given a rest by now
    world.fault(**fault, match={"key": other.account_key}, times=-1)
    with pytest.raises(anthropic.APIStatusError) as by_anthropic:
        eventually(lambda: ask_claude(world.anthropic(), text, model=other.model))
    message = check((by_openai.value, by_anthropic.value), status, code)
    assert fault.get("message", "in time") in message
    assert deployment.account_key not in message


def test_a_provider_that_is_not_there(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(openai.APIStatusError) as caught:
        ask(world.openai(), model=deployment.model)
    assert (caught.value.status_code, caught.value.code) == (503, "provider_unavailable")
    assert {attempt.state for attempt in books.settled(world.acme.id)} == {"voided"}


def test_a_providers_refusal_is_passed_on_once(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment()
    world.fault(
        fault="status:400",
        message="Unsupported value: 'seed'.",
        match={"key": deployment.account_key},
        times=-1,
    )
    with pytest.raises(openai.BadRequestError) as caught:
        ask(world.openai(), model=deployment.model, seed=1)
    assert caught.value.body["message"] == "Unsupported value: 'seed'."
    assert len(books.calls(key=deployment.account_key)) == 1
    (attempt,) = books.settled(world.acme.id)
    assert attempt.state == "voided"


def test_a_wrong_method_is_refused(world: World) -> None:
    status, body = world.get("/v1/embeddings")
    assert (status, body["error"]["code"]) == (405, "invalid_request")


def test_a_model_without_a_price_of_its_output_is_unpriced(
    world: World, books: Books, make_deployment
) -> None:
    deployment = make_deployment(prices=[{"meter": "input", "usd_per_million": "1"}])
    check(refusals(world, model=deployment.model), 402, "model_unpriced")
    assert books.calls(key=deployment.account_key) == []
