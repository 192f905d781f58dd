"""Files, batches and cost reports with the real SDKs against the sandbox."""

import io
import json
import urllib.request
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import anthropic
import openai
import pytest

from tests.books import eventually
from tests.llm.sandbox.conftest import Provider


def upload(provider: Provider, *lines: dict | str) -> str:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return provider.openai().files.create(file=("in.jsonl", io.BytesIO(text.encode())), purpose="batch").id


def line(custom_id: str, question: str, **body) -> dict:
    messages = [{"role": "user", "content": question}]
    body = {"model": "gpt-4o-mini", "messages": messages} | body
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def submit(provider: Provider, file_id: str, endpoint: str = "/v1/chat/completions"):
    return provider.openai().batches.create(input_file_id=file_id, endpoint=endpoint, completion_window="24h")


def ended(provider: Provider, batch_id: str):
    return eventually(
        lambda: provider.openai().batches.retrieve(batch_id),
        until=lambda batch: batch.status in ("completed", "failed", "expired", "cancelled"),
    )


def lines_of(provider: Provider, file_id: str) -> dict[str, dict]:
    found = [json.loads(text) for text in provider.openai().files.content(file_id).text.splitlines()]
    return {entry["custom_id"]: entry for entry in found}


def test_it_works(provider: Provider) -> None:
    batch = submit(
        provider, upload(provider, line("a", "What is 2 + 2?"), line("b", "Hello"), line("c", "x", n=-1))
    )
    assert batch.status in ("validating", "in_progress")
    batch = ended(provider, batch.id)
    assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 2, 1)
    output = lines_of(provider, batch.output_file_id)
    assert output["a"]["response"]["body"]["choices"][0]["message"]["content"] == "2 + 2 = 4."
    assert lines_of(provider, batch.error_file_id)["c"]["response"]["status_code"] == 400
    calls = provider.calls(batch_id=batch.id)
    assert [call["custom_id"] for call in calls] == ["a", "b", "c"]
    assert {call["processing"] for call in calls} == {"batch"}
    assert batch.usage.total_tokens == sum(sum(call["billed"].values()) for call in calls)


def test_embeddings_and_responses_lines_run_too(provider: Provider) -> None:
    for path, body in (
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hello"}),
        ("/v1/responses", {"model": "gpt-4o-mini", "input": "Hello"}),
    ):
        file_id = upload(provider, {"custom_id": "a", "method": "POST", "url": path, "body": body})
        assert ended(provider, submit(provider, file_id, path).id).request_counts.completed == 1


def test_a_file_with_a_bad_line_fails_as_a_whole(provider: Provider) -> None:
    batch = submit(provider, upload(provider, line("a", "Hello"), "{nonsense", line("a", "Again")))
    batch = ended(provider, batch.id)
    assert batch.status == "failed"
    assert batch.output_file_id is None
    assert [(error.code, error.line) for error in batch.errors.data] == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 3),
    ]


def test_a_cancelled_batch_runs_no_further_line(provider: Provider) -> None:
    client = provider.openai()
    batch = submit(provider, upload(provider, line("a", "Hello"), line("b", "Hello")))
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = ended(provider, batch.id)
    assert batch.status == "cancelled"
    codes = {entry["error"]["code"] for entry in lines_of(provider, batch.error_file_id).values()}
    assert codes == {"batch_cancelled"}
    assert provider.calls(batch_id=batch.id) == []


def test_an_expired_batch_gives_what_it_has(provider: Provider) -> None:
    provider.order("expire", match={"path": "/v1/batches"})
    batch = ended(provider, submit(provider, upload(provider, line("a", "Hello"), line("b", "Hello"))).id)
    assert batch.status == "expired"
    assert list(lines_of(provider, batch.output_file_id)) == ["a"]
    assert lines_of(provider, batch.error_file_id)["b"]["error"]["code"] == "batch_expired"


def test_a_fault_strikes_one_line(provider: Provider) -> None:
    provider.order("status:500", match={"contains": "unlucky", "path": "/v1/chat/completions"})
    batch = ended(provider, submit(provider, upload(provider, line("a", "unlucky"), line("b", "unlucky"))).id)
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)


def test_files_belong_to_their_key(provider: Provider) -> None:
    client, file_id = provider.openai(), upload(provider, line("a", "Hello"))
    assert [file.id for file in client.files.list()] == [file_id]
    assert client.files.retrieve(file_id).bytes == len(client.files.content(file_id).content)
    stranger = Provider(provider.url, f"{provider.key}-other").openai()
    with pytest.raises(openai.NotFoundError):
        stranger.files.retrieve(file_id)
    assert client.files.delete(file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file_id)


def message(custom_id: str, question: str, **params) -> dict:
    messages = [{"role": "user", "content": question}]
    return {
        "custom_id": custom_id,
        "params": {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": messages} | params,
    }


def message_batch(provider: Provider, *requests: dict, cancel: bool = False):
    client = provider.anthropic()
    batch = client.messages.batches.create(requests=list(requests))
    if cancel:
        assert client.messages.batches.cancel(batch.id).processing_status == "canceling"
    batch = eventually(
        lambda: client.messages.batches.retrieve(batch.id),
        until=lambda found: found.processing_status == "ended",
    )
    return batch, {result.custom_id: result.result for result in client.messages.batches.results(batch.id)}


def test_message_batches(provider: Provider) -> None:
    batch, results = message_batch(
        provider, message("a", "What is 2 + 2?"), message("b", "Hello", max_tokens=-1)
    )
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (1, 1)
    assert results["a"].message.content[0].text == "2 + 2 = 4."
    assert results["a"].message.usage.service_tier == "batch"
    assert results["b"].error.error.type == "invalid_request_error"
    assert (
        provider.calls(batch_id=batch.id)[0]["billed"]["output"] == results["a"].message.usage.output_tokens
    )
    assert [listed.id for listed in provider.anthropic().messages.batches.list()] == [batch.id]
    assert provider.anthropic().messages.batches.delete(batch.id).type == "message_batch_deleted"


def test_a_cancelled_message_batch_has_a_result_for_every_request(provider: Provider) -> None:
    batch, results = message_batch(provider, message("a", "Hello"), message("b", "Hello"), cancel=True)
    assert {result.type for result in results.values()} == {"canceled"}
    assert batch.request_counts.canceled == 2
    with pytest.raises(anthropic.NotFoundError):
        provider.anthropic().messages.batches.retrieve("msgbatch_unknown")


def report(provider: Provider, path: str) -> dict:
    request = urllib.request.Request(
        f"{provider.url}{path}", headers={"Authorization": f"Bearer {provider.key}"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer, parse_float=Decimal)


def test_the_cost_report_is_the_sum_of_the_calls(provider: Provider) -> None:
    client, question = provider.openai(), [{"role": "user", "content": "How do I top up?"}]
    online = client.chat.completions.create(model="gpt-4o-mini", messages=question).usage
    batch = ended(provider, submit(provider, upload(provider, line("a", "How do I top up?"))).id)
    assert batch.usage.output_tokens == online.completion_tokens
    price = online.prompt_tokens * Decimal("0.15") + online.completion_tokens * Decimal("0.60")
    (digest,) = {call["key"] for call in provider.calls()}
    yesterday = int((datetime.now(UTC) - timedelta(days=1)).timestamp())
    page = report(
        provider, f"/v1/organization/costs?start_time={yesterday}&group_by=line_item&api_key_ids={digest}"
    )
    results = [result for bucket in page["data"] for result in bucket["results"]]
    assert sum(result["amount"]["value"] for result in results) == pytest.approx(
        price * Decimal("1.5") / 1_000_000
    )
    assert {result["line_item"] for result in results} == {
        "gpt-4o-mini, input",
        "gpt-4o-mini, output",
        "gpt-4o-mini batch, input",
        "gpt-4o-mini batch, output",
    }


def test_anthropic_reports_cents_as_text_by_utc_day(provider: Provider) -> None:
    provider.anthropic().messages.create(
        model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
    )
    page = report(
        provider, "/v1/organizations/cost_report?starting_at=2026-01-01T00:00:00Z&group_by[]=description"
    )
    today = [bucket for bucket in page["data"] if bucket["results"]]
    day = datetime.now(UTC).date() - timedelta(days=180)
    page = report(
        provider,
        f"/v1/organizations/cost_report?starting_at={day + timedelta(days=179)}&group_by[]=description",
    )
    results = [result for bucket in [*today, *page["data"]] for result in bucket["results"]]
    assert all(isinstance(result["amount"], str) and Decimal(result["amount"]) > 0 for result in results)
    assert {"uncached_input_tokens", "output_tokens"} <= {result["token_type"] for result in results}
