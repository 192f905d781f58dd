"""A month is closed once, as the ledger's sum, and nothing enters it any more."""

import csv
import hashlib
import io
import threading
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.utils.timezone import now

from billing.models import BillingPeriod, Statement, StatementFile, StatementLine, UsageLine, UsageRecord
from billing.months.closing import CannotClose, close_period, open_periods, reopen_period
from billing.months.files import bytes_of
from billing.months.jobs.approving import begin_due
from billing.months.statements import first_break
from tests.billing.shop import Shop, open_shop


def test_it_works(shop: Shop, last_month: datetime) -> None:
    for number in range(3):
        shop.call(last_month, {"input": 1000 + number, "output": 500})
    shop.hit(last_month)
    statement = shop.close(last_month)
    assert statement.number == 1
    assert statement.code == f"ST-{last_month:%Y-%m}-{statement.serial:06d}"
    assert statement.exact_usd == shop.ledger_sum() == Decimal("0.0225075")
    assert statement.total == Decimal("0.02")
    assert statement.record_count == 4
    period = BillingPeriod.objects.get(pk=statement.period_id)
    assert (period.status, period.digest) == ("closed", statement.digest)


def test_lines_say_who_used_what_at_which_price(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month, user="alice", cost_center="4711")
    shop.call(last_month, user="alice", cost_center="4711")
    shop.call(last_month, user="bob", cost_center="4712")
    shop.hit(last_month)
    lines = StatementLine.objects.filter(statement=shop.close(last_month)).exclude(category="rounding")
    found = {
        (line.cost_center, line.user_id, line.meter): (
            line.quantity,
            line.unit,
            line.unit_price,
            line.exact_usd,
        )
        for line in lines
    }
    assert found == {
        ("", "alice", "gateway_cache_hit"): (1, "hits", None, Decimal(0)),
        ("4711", "alice", "input"): (2000, "tokens", Decimal("2.5"), Decimal("0.005")),
        ("4711", "alice", "output"): (1000, "tokens", Decimal("10"), Decimal("0.01")),
        ("4712", "bob", "input"): (1000, "tokens", Decimal("2.5"), Decimal("0.0025")),
        ("4712", "bob", "output"): (500, "tokens", Decimal("10"), Decimal("0.005")),
    }
    assert {line.key_name for line in lines} == {"main"}


def test_printed_lines_and_their_rounding_make_the_total(shop: Shop, last_month: datetime) -> None:
    for user in ("alice", "bob", "carol"):
        shop.call(last_month, {"input": 1600}, user=user)  # 0.004 each
    shop.call(last_month, {"output": 1_000_500}, user="dave")  # 10.005
    statement = shop.close(last_month)
    amounts = {line.user_id or line.category: line.amount for line in statement.lines.all()}
    assert amounts == {
        "alice": Decimal("0.004"),
        "bob": Decimal("0.004"),
        "carol": Decimal("0.004"),
        "dave": Decimal("10.005"),
        "rounding": Decimal("0.003"),
    }
    assert (statement.exact_usd, statement.total) == (Decimal("10.017"), Decimal("10.02"))


def test_a_month_closes_only_when_it_is_over_and_its_turn(
    shop: Shop, last_month: datetime, month_before: datetime
) -> None:
    shop.call(month_before)
    shop.call(last_month)
    shop.call(now())
    with pytest.raises(CannotClose, match="runs until"):
        shop.close(now(), forced_reason="please")
    with pytest.raises(CannotClose, match="comes first"):
        shop.close(last_month)
    with pytest.raises(CannotClose, match="late usage"):
        shop.close(month_before, grace=timedelta(days=400))
    assert shop.close(month_before).number == 1
    assert shop.close(last_month).number == 2


def test_open_calls_hold_a_month_open_unless_somebody_says_why(shop: Shop, last_month: datetime) -> None:
    attempt = shop.open_attempt(last_month)
    shop.call(last_month)
    with pytest.raises(CannotClose, match="1 calls"):
        shop.close(last_month)
    statement = shop.close(last_month, forced_reason="the provider never answers")
    assert statement.forced_reason == "the provider never answers"
    shop.call(last_month, attempt_id=attempt)
    late = shop.rows()[-1]
    assert (late.charge_class, late.occurred_at) == ("Correction", last_month)
    assert late.period.starts_at > last_month


def test_closing_twice_is_closing_once(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    first = shop.close(last_month)
    assert close_period(first.period).pk == first.pk
    assert Statement.objects.filter(tenant=shop.tenant).count() == 1
    with pytest.raises(CannotClose, match="for good"):
        reopen_period(first.period)


def test_a_month_that_is_being_closed_can_be_opened_again(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    period = shop.period(last_month)
    BillingPeriod.objects.filter(pk=period.pk).update(status="closing")
    assert reopen_period(period).status == "open"
    shop.call(last_month)
    assert shop.close(last_month).record_count == 2


def insert_record(period: BillingPeriod, at: datetime, **values: object) -> None:
    UsageRecord.objects.create(
        **{
            "id": uuid4(),
            "occurred_at": at,
            "tenant_id": period.tenant_id,
            "period": period,
            "usage_source": "manual",
        }
        | values
    )


def test_nothing_enters_a_closed_month(shop: Shop, last_month: datetime) -> None:
    record = shop.call(last_month)
    period = shop.close(last_month).period
    attempts = (
        lambda: insert_record(period, last_month),
        lambda: insert_record(period, now(), charge_class="Correction"),
        lambda: insert_record(period, last_month, kind="credit", billed_cost=-1),
        lambda: insert_record(
            period, last_month, kind="correction", corrects_id=record, charge_class="Correction"
        ),
        lambda: insert_record(period, last_month, kind="adjustment"),
    )
    for attempt in attempts:
        with pytest.raises(IntegrityError, match="closed"):
            attempt()
    tables = [f"billing_usageline_{last_month:%Y_%m}", "billing_usageline"]
    for table in tables:
        with pytest.raises(IntegrityError, match="nothing enters"), connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} SELECT record_id, 99, occurred_at, tenant_id, meter, quantity, per, price_id,"
                " unit_price, list_cost, provider_cost, contracted_cost, 1000 FROM billing_usageline"
                " WHERE record_id = %s LIMIT 1",
                (record,),
            )
    with pytest.raises(IntegrityError, match="without a record"):
        UsageLine.objects.create(
            record_id=uuid4(), line_no=1, occurred_at=last_month, tenant=shop.tenant, meter="input", quantity=1,
            per=1, list_cost=1, provider_cost=1, contracted_cost=1, billed_cost=1,
        )  # fmt: skip
    assert shop.ledger_sum() == Decimal("0.0075")


def test_a_closed_month_and_its_statement_never_change(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    statement = shop.close(last_month)
    period = BillingPeriod.objects.filter(pk=statement.period_id)
    changes = (
        lambda: period.update(status="open", closed_at=None, digest=""),
        lambda: period.update(digest="0" * 64),
        lambda: period.delete(),
        lambda: Statement.objects.filter(pk=statement.pk).update(total=0),
        lambda: statement.lines.update(amount=0),
        lambda: statement.files.update(content=b""),
        lambda: StatementFile.objects.filter(statement=statement).delete(),
        lambda: StatementLine.objects.create(
            statement=statement, line_no=99, category="credit", exact_usd=-1, amount=-1
        ),
    )
    for change in changes:
        with pytest.raises(DatabaseError):
            change()
    for table in ("statement", "statementline", "statementfile"):
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE billing_{table} CASCADE")


def test_a_month_is_closed_only_with_its_statement(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    period = BillingPeriod.objects.filter(pk=shop.period(last_month).pk)
    with pytest.raises(IntegrityError, match="no statement"):
        period.update(status="closed", closed_at=now(), digest="0" * 64)
    with pytest.raises(IntegrityError, match="bounds"):
        period.update(ends_at=now())


def test_numbers_have_no_gap(shop: Shop, last_month: datetime, month_before: datetime) -> None:
    shop.call(month_before)
    shop.call(last_month)
    first = shop.close(month_before)
    BillingPeriod.objects.filter(pk=shop.period(last_month).pk).update(status="closing")
    for number, previous in ((3, first.digest), (2, "0" * 64), (1, first.digest)):
        with pytest.raises(IntegrityError, match="does not follow"), transaction.atomic():
            Statement.objects.create(
                tenant=shop.tenant, period=shop.period(last_month), number=number, code="x", timezone="UTC",
                record_count=0, exact_usd=0, rounding=0, total=0, previous_digest=previous, day_digests={},
                content_digest="x", digest="x", issued_at=now(),
            )  # fmt: skip
    assert shop.close(last_month).number == 2


def test_files_are_stored_with_their_digest_and_add_up(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    shop.call(last_month, {"input": 7, "output": 3}, user="bob")
    statement = shop.close(last_month)
    files = {file.format: file for file in statement.files.all()}
    assert set(files) == {
        "csv",
        "xlsx",
        "pdf",
        "json",
        "focus",
        "statement",
        "certificate",
        "certificate-pdf",
    }
    for file in files.values():
        assert hashlib.sha256(bytes_of(file)).hexdigest() == file.sha256
    sums = {"csv": "billed_cost_usd", "focus": "BilledCost", "statement": "exact_usd"}
    for name, column in sums.items():
        rows = list(csv.DictReader(io.StringIO(bytes_of(files[name]).decode(), newline="")))
        summed = sum(Decimal(row[column]) for row in rows)
        assert summed == (statement.total if name == "focus" else statement.exact_usd), name
        if name == "statement":
            assert sum(Decimal(row["amount"]) for row in rows) == statement.total
        if name == "focus":
            assert {row["InvoiceId"] for row in rows} == {statement.code}


def test_an_issuer_has_one_sequence_of_numbers_for_all_tenants(shop: Shop, last_month: datetime) -> None:
    """Six tenants close at the same moment, and one of them fails: no number is twice, none is left out."""
    shops = [shop, *(open_shop() for _ in range(5))]
    for one in shops:
        one.call(last_month)
    first = shop.close(last_month).serial
    assert first is not None
    started = threading.Barrier(len(shops))

    def close(one: Shop) -> None:
        started.wait()
        try:
            with transaction.atomic():
                one.close(last_month)
                if one is shops[1]:
                    raise RuntimeError("the close that fails after its number was taken")
        except RuntimeError:
            one.close(last_month)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=close, args=(one,)) for one in shops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statements = Statement.objects.filter(tenant__in=[one.tenant for one in shops])
    assert sorted(statements.values_list("serial", flat=True)) == list(range(first, first + len(shops)))
    assert len({statement.code for statement in statements}) == len(shops)
    assert {statement.number for statement in statements} == {1}


def test_a_number_that_does_not_follow_is_refused(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    BillingPeriod.objects.filter(pk=shop.period(last_month).pk).update(status="closing")
    for issuer, serial in (("Other Ltd", 2), ("Other Ltd", 0), ("Other Ltd", None)):
        with pytest.raises(IntegrityError, match="does not follow"), transaction.atomic():
            Statement.objects.create(
                tenant=shop.tenant, period=shop.period(last_month), number=1, code="x", timezone="UTC", issuer=issuer,
                serial=serial, record_count=0, exact_usd=0, rounding=0, total=0, previous_digest="", day_digests={},
                content_digest="x", digest="x", issued_at=now(),
            )  # fmt: skip


def test_a_statement_keeps_how_sure_its_sum_was(shop: Shop, last_month: datetime) -> None:
    attempt = shop.open_attempt(last_month, hold=Decimal(2))
    shop.call(last_month, attempt_id=attempt, usage_source="estimated")
    shop.call(last_month)
    statement = shop.close(last_month)
    expected = {
        "exact": {"records": 1, "amount_usd": "0.0075", "least_usd": "0.0075", "most_usd": "0.0075"},
        "estimated": {"records": 1, "amount_usd": "0.0075", "least_usd": "0", "most_usd": "2"},
        "unread": {"records": 0, "amount_usd": "0", "least_usd": "0", "most_usd": "0"},
    }
    assert statement.certainty == expected
    shop.call(
        last_month, {"input": 10}, attempt_id=attempt
    )  # now it is known; the statement is what was said
    assert Statement.objects.get(pk=statement.pk).certainty == expected
    assert first_break(shop.tenant) is None
    assert {line.certainty for line in statement.lines.all()} == {"exact", "estimated", ""}


def test_the_first_row_of_a_month_may_be_a_cache_hit(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    shop.hit(now())
    hit = shop.rows(usage_source="gateway_cache")[0]
    assert hit.charge_class == ""
    assert hit.period.starts_at <= hit.occurred_at < hit.period.ends_at


def test_a_late_cache_hit_is_a_correction_of_the_open_month(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    shop.close(last_month)
    shop.hit(last_month)
    hit = shop.rows(usage_source="gateway_cache")[0]
    assert hit.charge_class == "Correction"
    assert hit.period.status == "open"


def test_the_schedule_closes_only_where_the_policy_says_so(shop: Shop, last_month: datetime) -> None:
    automatic = open_shop()
    automatic.tenant.policy = {"closing": {"auto": True, "grace_hours": 0}}
    automatic.tenant.save()
    for one in (shop, automatic):
        one.call(last_month)
    begun = {period.tenant_id for period in begin_due()}
    assert automatic.tenant.pk in begun
    assert shop.tenant.pk not in begun
    assert automatic.close(last_month).record_count == 1
    assert not [one for one in begin_due() if one.tenant_id == automatic.tenant.pk]


def test_the_running_month_is_opened_ahead(shop: Shop) -> None:
    assert not BillingPeriod.objects.filter(tenant=shop.tenant).exists()
    open_periods()
    assert BillingPeriod.objects.filter(tenant=shop.tenant, status="open").count() == 1
    open_periods()
    assert BillingPeriod.objects.filter(tenant=shop.tenant).count() == 1


@pytest.mark.parametrize("round_no", range(3))
def test_a_month_closed_while_twelve_write_is_the_ledgers_sum(
    shop: Shop, last_month: datetime, round_no: int
) -> None:
    started = threading.Barrier(13)
    stop = threading.Event()
    written: list[int] = []
    errors: list[Exception] = []

    def write(number: int) -> None:
        try:
            started.wait()
            count = 0
            while not stop.is_set() or count < 5:
                if number % 4 == 3:
                    shop.hit(last_month)
                else:
                    shop.call(
                        last_month, {"input": 1000 + count, "output": number + 1}, user=f"user-{number}"
                    )
                count += 1
            written.append(count)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    shop.call(last_month)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for writer in writers:
        writer.start()
    started.wait()
    try:
        statement = shop.close(last_month, forced_reason="while they write")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not errors
    in_month = shop.ledger_sum("period_id = %s", statement.period_id)
    assert statement.exact_usd == in_month
    assert len(shop.rows()) == sum(written) + 1
    assert statement.record_count == len(shop.rows(period_id=statement.period_id))
    late = shop.rows(charge_class="Correction")
    assert len(late) == sum(written) + 1 - statement.record_count
    assert all(row.period_id != statement.period_id for row in late)
    assert in_month + sum(row.billed_cost for row in late) == shop.ledger_sum()
