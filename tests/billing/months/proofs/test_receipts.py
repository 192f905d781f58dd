"""A receipt of a closed month leads to its statement, without us; a changed one does not."""

import copy
import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction

from billing.models import ReceiptTree, Statement, UsageRecord
from billing.months.proofs import leaves, planting, verify
from billing.months.proofs.paths import proofs_of
from billing.months.statements import as_issued
from tests.billing.shop import Shop, open_shop


def receipt_of(shop: Shop, request_id: UUID) -> dict[str, Any]:
    @sync_to_async
    def fetch(sql: str, values: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall()

    proofs = async_to_sync(proofs_of)(request_id, tenant_id=shop.tenant.pk, fetch=fetch)
    return json.loads(json.dumps({"request_id": str(request_id), "proofs": proofs}))


def issued(statement: Statement) -> dict[str, Any]:
    return json.loads(json.dumps(as_issued(Statement.objects.get(pk=statement.pk))))


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of several chunks without a thousand rows."""
    monkeypatch.setattr(planting, "CHUNK_ROWS", 4)
    monkeypatch.setattr("billing.months.proofs.paths.CHUNK_ROWS", 4)


@pytest.fixture
def month(shop: Shop, last_month: datetime, small_chunks: None) -> tuple[Statement, list[UUID]]:
    """A closed month of eleven requests, two of them of the same moment."""
    asked = [uuid4() for _ in range(11)]
    for number, request_id in enumerate(asked):
        shop.call(last_month + timedelta(hours=number // 2), request_id=request_id, user=f"user {number}")
    return shop.close(last_month), asked


def test_it_works(shop: Shop, month: tuple[Statement, list[UUID]]) -> None:
    statement, asked = month
    assert ReceiptTree.objects.get(statement=statement).row_count == len(asked)
    for request_id in asked:
        said = verify.check_receipt(receipt_of(shop, request_id), [issued(statement)])
        billed = UsageRecord.objects.get(request_id=request_id, tenant=shop.tenant).billed_cost
        assert said[-1] == f"1 rows proven, {billed:f} USD billed"


def test_every_attempt_and_a_later_correction_is_proven(
    shop: Shop, month_before: datetime, last_month: datetime, small_chunks: None
) -> None:
    request_id = uuid4()
    for attempt in (1, 2):
        shop.call(month_before, request_id=request_id, attempt_no=attempt)
    late = shop.open_attempt(month_before, request_id=request_id, attempt_no=3)
    first = shop.close(month_before, forced_reason="a call is open")
    shop.call(month_before, request_id=request_id, attempt_no=3, attempt_id=late)
    receipt = receipt_of(shop, request_id)
    said = verify.check_receipt(receipt, [issued(first)])
    assert said[-1].startswith("2 rows proven")

    second = shop.close(last_month)
    receipt = receipt_of(shop, request_id)
    assert verify.check_receipt(receipt, [issued(first), issued(second)])[-1].startswith("3 rows proven")
    only_first = verify.check_receipt(receipt, [issued(first)])
    assert any(line.startswith(f"not checked: a row of {second.code}") for line in only_first)


def test_a_month_without_rows_has_no_tree(shop: Shop, last_month: datetime) -> None:
    statement = shop.close(last_month)
    assert statement.receipts == {}
    with pytest.raises(verify.NotProven, match="before statements named their receipts"):
        verify.check_statement(issued(statement))


def test_an_open_month_has_no_proof(shop: Shop, last_month: datetime) -> None:
    request_id = uuid4()
    shop.call(last_month, request_id=request_id)
    assert receipt_of(shop, request_id)["proofs"] == []


def test_another_tenant_gets_no_proof(month: tuple[Statement, list[UUID]]) -> None:
    assert receipt_of(open_shop(), month[1][0])["proofs"] == []


def test_a_row_that_was_changed_since_has_no_proof(shop: Shop, month: tuple[Statement, list[UUID]]) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE billing_usagerecord SET billed_cost = billed_cost + 1 WHERE tenant_id = %s AND request_id = %s",
            (shop.tenant.pk, month[1][5]),
        )
        assert receipt_of(shop, month[1][5])["proofs"] == []
        assert receipt_of(shop, month[1][10])["proofs"] != []
        transaction.set_rollback(True)


Tampering = Callable[[dict[str, Any], dict[str, Any]], None]


def row_says(name: str, value: Any) -> Tampering:
    def change(receipt: dict[str, Any], statement: dict[str, Any]) -> None:
        facts = json.loads(receipt["proofs"][0]["row"])
        receipt["proofs"][0]["row"] = json.dumps(facts | {name: value})

    return change


def proof_says(name: str, value: Any) -> Tampering:
    return lambda receipt, statement: receipt["proofs"][0].update({name: value})


def facts_say(name: str, value: Any) -> Tampering:
    return lambda receipt, statement: statement["facts"].update({name: value})


def twice(receipt: dict[str, Any], statement: dict[str, Any]) -> None:
    receipt["proofs"] *= 2


def another_root(receipt: dict[str, Any], statement: dict[str, Any]) -> None:
    statement["facts"]["receipts"]["root"] = "0" * 64


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (row_says("billed_usd", "0.000000000001"), "is not part of"),
        (row_says("user", "mallory"), "is not part of"),
        (row_says("request_id", str(uuid4())), "of another request"),
        (proof_says("index", 4), "is not part of"),
        (proof_says("index", 99), "and none at 99"),
        (proof_says("index", -1), "whole number"),
        (proof_says("index", True), "whole number"),
        (proof_says("index", 2.0), "whole number"),
        (proof_says("path", []), "below the root"),
        (proof_says("path", ["00" * 32] * 65), "at most 64"),
        (proof_says("path", ["zz" * 32]), "hexadecimal"),
        (proof_says("path", "00" * 32), "at most 64"),
        (proof_says("row", "no JSON"), "not JSON"),
        (proof_says("row", "[]"), "not a JSON object"),
        (proof_says("statement", "ST-0000-00-1"), "no row was checked"),
        (twice, "shown twice"),
        (facts_say("total", "0.000000000000"), "do not make its digest"),
        (facts_say("rows", 1), "do not make its digest"),
        (another_root, "do not make its digest"),
        (lambda receipt, statement: statement.update(previous_digest="1" * 64), "do not make its digest"),
        (lambda receipt, statement: receipt.update(proofs=[]), "not closed yet"),
        (lambda receipt, statement: receipt.pop("proofs"), "not closed yet"),
        (lambda receipt, statement: statement.pop("facts"), "no statement"),
    ],
)
def test_tampering_is_told(
    shop: Shop, month: tuple[Statement, list[UUID]], tamper: Tampering, words: str
) -> None:
    receipt, statement = receipt_of(shop, month[1][7]), issued(month[0])
    verify.check_receipt(copy.deepcopy(receipt), [statement])
    tamper(receipt, statement)
    with pytest.raises(verify.NotProven, match=words):
        verify.check_receipt(receipt, [statement])


def test_the_program_needs_nothing_of_ours(
    shop: Shop, month: tuple[Statement, list[UUID]], tmp_path: Path
) -> None:
    """Alone in a folder, without site-packages and without an environment."""
    program = tmp_path / "verify.py"
    program.write_bytes(Path(verify.__file__).read_bytes())
    (tmp_path / "receipt.json").write_text(json.dumps(receipt_of(shop, month[1][3])))
    (tmp_path / "statement.json").write_text(json.dumps(issued(month[0])))
    command = [sys.executable, "-I", "-S", program.name, "receipt.json", "statement.json"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)
    assert f"digest of {month[0].code}: {month[0].digest}" in done.stdout
    (tmp_path / "receipt.json").write_text("[" * 100_000)
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("NOT PROVEN: receipt.json cannot be read")) == (1, True)


@pytest.mark.parametrize(
    "junk", [None, 0, [], "x", {"facts": []}, {"facts": {"code": 1}, "previous_digest": 0, "digest": 0}]
)
def test_junk_is_refused_in_words(tmp_path: Path, junk: Any) -> None:
    for receipt, statement in ((junk, junk), ({"request_id": "1", "proofs": [junk]}, junk)):
        names = []
        for name, value in (("receipt", receipt), ("statement", statement)):
            names.append(str(tmp_path / name))
            Path(names[-1]).write_text(json.dumps(value))
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            assert verify.main(names) == 1
        assert said.getvalue().startswith("NOT PROVEN: ")


def test_a_leaf_says_nothing_of_what_we_pay(shop: Shop, month: tuple[Statement, list[UUID]]) -> None:
    facts = json.loads(receipt_of(shop, month[1][0])["proofs"][0]["row"])
    row = UsageRecord.objects.get(request_id=month[1][0], tenant=shop.tenant)
    assert Decimal(facts["billed_usd"]) == row.billed_cost
    assert not {"provider_cost", "contracted_cost", "saving", "raw_usage", "upstream_id"} & facts.keys()


def test_a_leaf_is_the_json_that_postgresql_makes_of_a_row(shop: Shop, last_month: datetime) -> None:
    """The text is put together by hand, because that is faster; it is the one that the scheme names."""
    facts = {
        "row": "r.id",
        "at": """to_char(r.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
        **{
            name: f"r.{column}"
            for name, column in (("tenant", "tenant_id"), ("request_id", "request_id"), ("kind", "kind"))
        },
        **{
            name: f"r.{column}"
            for name, column in (("corrects", "corrects_id"), ("user", "user_id"), ("key", "key_id"))
        },
        **{
            name: f"r.{name}"
            for name in ("feature", "project", "cost_center", "provider", "model", "processing")
        },
        **{"source": "r.usage_source", "certainty": "r.certainty"},
        **{f"{name}_tokens": f"r.{name}_tokens" for name in ("input", "cache_read", "cache_write", "output")},
        **{"list_usd": "r.list_cost::text", "billed_usd": "r.billed_cost::text"},
    }
    for odd in ('"', "\\", "a\nb\tc", "\x01\x1f", "é😀", "</script>", "%s {} '", "=1+1", ""):
        shop.call(last_month, user=odd, request_id=uuid4())
    shop.hit(last_month)
    pairs = ", ".join(f"'{name}', {value}" for name, value in facts.items())
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT json_build_object({pairs})::text, {leaves.TEXT} FROM billing_usagerecord r WHERE r.tenant_id = %s",
            (shop.tenant.pk,),
        )
        rows = cursor.fetchall()
    assert len(rows) == 10
    assert all(by_postgresql == ours for by_postgresql, ours in rows)
