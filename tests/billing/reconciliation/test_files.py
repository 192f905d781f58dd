"""Reports as files: what is uploaded is what would have been pulled."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction

from billing.models import CostComparison, CostReportLine
from billing.reconciliation.provider_reports import (
    ANTHROPIC,
    OPENAI,
    InvalidReport,
    parse_json,
    read_file,
    read_pages,
)
from llm.providers.kinds import KINDS
from llm.reconciliation.pulling import pull_pages, upload
from tests.billing.reconciliation.conftest import Account, span

FACTS = ("day", "line_item", "project", "model", "meter", "processing", "quantity", "amount_usd")


def live_lines(account: Account) -> list[tuple[Any, ...]]:
    lines = CostReportLine.objects.filter(provider=account.name, superseded_at=None)
    return sorted(lines.values_list(*FACTS), key=str)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_it_works(kind: str, make_account: Callable[..., Account], tmp_path: Path) -> None:
    """The pages as a file make the same lines and the same comparison as the pull."""
    import asyncio

    account = make_account(kind)
    account.ask()
    account.settled(1)
    pulled = account.reconcile()
    lines = live_lines(account)
    figures = list(CostComparison.objects.filter(provider=account.name).values())
    first, last, _ = span()
    reports = KINDS[kind].reports
    assert reports is not None
    answers = asyncio.run(pull_pages(account.provider, reports, first=first, last=last))
    file = tmp_path / "report.json"
    file.write_bytes(b"[" + b",".join(page for pages in answers for page in pages) + b"]")
    call_command("reconcile", "--provider", account.name, "--file", str(file))
    assert live_lines(account) == lines
    assert list(CostComparison.objects.filter(provider=account.name).values()) == figures
    assert pulled.report.total_usd == account.booked_usd()


def test_the_console_export_of_openai_is_read_too(make_account: Callable[..., Account]) -> None:
    account = make_account()
    account.ask()
    account.settled(1)
    account.reconcile()
    columns = (
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,"
        "organization_id,organization_name"
    )
    rows = [columns]
    for day, line_item, project, *_, usd in live_lines(account):
        starts = datetime(day.year, day.month, day.day, tzinfo=UTC)
        stamp = f"{int(starts.timestamp())},{int(starts.timestamp()) + 86400},{starts.isoformat()},x"
        rows.append(f'{stamp},{usd.normalize():f},usd,"{line_item}",{project},org-sandbox,Personal')
    before = {(*line[:6], line[7]) for line in live_lines(account)}
    done = upload(account.provider, "\n".join(rows).encode(), at=span()[2])
    assert {(*line[:6], line[7]) for line in live_lines(account)} == before
    assert {row.kind for row in done.comparisons} == {"match"}


def test_the_console_export_of_anthropic_names_models_for_people() -> None:
    text = (
        "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type\n"
        "2026-08-04,Claude Haiku 4.5,Default,demo,message,≤ 200k,input_no_cache,0.05,0.05,token\n"
        "2026-08-06,Claude Haiku 4.5,Default,demo,batch,≤ 200k,input_cache_write_5m,0.02,0.02,token\n"
        "2026-08-06,,Default,demo,message,,,0.10,0.10,web_search\n"
    )
    report = read_file(ANTHROPIC, text.encode())
    assert report.days == {date(2026, 8, 4), date(2026, 8, 5), date(2026, 8, 6)}
    from billing.reconciliation.line_items import ModelNames

    names = ModelNames({"haiku": "claude-haiku-4-5-20251001"})
    items = [names.item(line.item) for line in report.lines]
    assert [(item.model, item.meter, item.processing) for item in items] == [
        ("haiku", "input", ""),
        ("haiku", "cache_write_5m", "batch"),
        ("", "web_search", ""),
    ]
    assert [line.amount_usd for line in report.lines] == [Decimal("0.05"), Decimal("0.02"), Decimal("0.10")]


def openai_page(*values: str) -> bytes:
    results = ", ".join(
        f'{{"object": "organization.costs.result", "amount": {{"value": {value}, "currency": "usd"}},'
        f' "line_item": "gpt-4o-2024-08-06, input {number}", "project_id": null}}'
        for number, value in enumerate(values)
    )
    bucket = (
        f'{{"object": "bucket", "start_time": 1764547200, "end_time": 1764633600, "results": [{results}]}}'
    )
    return f'{{"object": "page", "data": [{bucket}], "has_more": false}}'.encode()


@pytest.mark.parametrize(
    "text", ["0.1", "0.30000000000000004", "1e-07", "1.2345600000000002e-05", "123456.789"]
)
def test_a_float_of_dollars_is_exact(text: str) -> None:
    (line,) = read_file(OPENAI, openai_page(text)).lines
    assert line.amount_usd == Decimal(text)
    assert line.day == date(2025, 12, 1)


@pytest.mark.parametrize(
    ("cents", "usd"), [("123.45", "1.2345"), ("0.000000000001", "0.00000000000001"), ("-5", "-0.05")]
)
def test_cents_as_text_are_exact(cents: str, usd: str) -> None:
    row = {"amount": cents, "currency": "USD", "model": "claude-haiku-4-5", "token_type": "output_tokens"}
    bucket = {"starting_at": "2025-12-01T00:00:00Z", "ending_at": "2025-12-02T00:00:00Z", "results": [row]}
    (line,) = read_pages(ANTHROPIC, [{"data": [bucket]}]).lines
    assert line.amount_usd == Decimal(usd)


def test_a_float_is_stored_as_it_was_told(make_account: Callable[..., Account]) -> None:
    account = make_account()
    provider = account.provider
    provider.report_scope = {}
    provider.save()
    texts = ["0.30000000000000004", "1.2345600000000002e-05"]
    upload(provider, openai_page(*texts))
    stored = CostReportLine.objects.filter(provider=account.name).values_list("amount_usd", flat=True)
    assert set(stored) == {Decimal(text) for text in texts}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"{", "no JSON"),
        (b'{"data": [{"results": []}]}', "starting_at"),
        (openai_page("1").replace(b'"usd"', b'"eur"'), "not in USD"),
        (openai_page('"many"'), "no amount"),
        (openai_page("true"), "no amount"),
        (openai_page("1").replace(b"1764633600", b"1764550800"), "no UTC day"),
        (b"day,cost\n2026-01-01,1\n", "columns"),
        (b"start_time,amount_value,amount_currency\nyesterday,1,usd\n", "line 2"),
    ],
)
def test_what_is_no_report_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(InvalidReport, match=problem):
        read_file(OPENAI, content)


def test_tokens_without_costs_are_refused() -> None:
    row = {
        "model": "claude-haiku-4-5",
        "uncached_input_tokens": 10,
        "cache_read_input_tokens": 0,
        "output_tokens": 5,
    }
    bucket = {"starting_at": "2025-12-01T00:00:00Z", "ending_at": "2025-12-02T00:00:00Z", "results": [row]}
    with pytest.raises(InvalidReport, match="no costs"):
        read_file(ANTHROPIC, json.dumps({"data": [bucket]}).encode())


def test_a_file_needs_its_account(committed: None) -> None:
    with pytest.raises(CommandError, match="whose report"):
        call_command("reconcile", "--file", "x.csv")
    with pytest.raises(CommandError, match="no provider"):
        call_command("reconcile", "--provider", "nobody")


def test_reports_cannot_be_rewritten(make_account: Callable[..., Account]) -> None:
    account = make_account()
    provider = account.provider
    provider.report_scope = {}
    provider.save()
    done = upload(provider, openai_page("0.5"))
    lines = CostReportLine.objects.filter(report=done.report)
    for change in (
        lambda: lines.update(amount_usd=1),
        lambda: lines.delete(),
        lambda: type(done.report).objects.filter(pk=done.report.pk).update(total_usd=1),
        lambda: CostComparison.objects.filter(provider=account.name).delete(),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_numbers_are_decimals_from_the_text() -> None:
    assert parse_json('{"value": 0.1}') == {"value": Decimal("0.1")}
