"""Closing a month: open -> closing -> closed, with a statement that is the ledger's sum.

Invariant: a closed month has exactly one statement, whose digest is chained to the one before; nothing enters
the month any more, and nothing of the statement changes (all held by triggers). `closing` is committed first:
taking it waits for rows on their way in, and later ones are booked into the next open month as corrections.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Max
from django.utils.timezone import now

from billing.contracts.commitments import true_up
from billing.contracts.currencies import Conversion, NoRate, conversion_of
from billing.four_eyes import four_eyes_of
from billing.ledger import digest
from billing.ledger.periods import period_at
from billing.models import Attempt, BillingPeriod, ReceiptTree, Statement, StatementFile
from billing.money import plain
from billing.months import chargeback_sheets
from billing.months import files as statement_files
from billing.months import reading as month_reading
from billing.months.certificates import issuing
from billing.months.invoicing import as_stored, tax_on, terms_of, with_set_off
from billing.months.lines import opened_lines, store_lines, texts_of_made
from billing.months.parts import MonthReport, Sure
from billing.months.proofs.planting import plant
from tenants.models import Tenant
from tenants.policy import parse_policy

OPEN_STATES = (Attempt.State.HELD, Attempt.State.SENT)
Status = BillingPeriod.Status
FOUR_EYES: Final = (
    "close_asked_at", "close_asked_by", "close_reason", "close_confirmed_at", "close_confirmed_by"
)  # fmt: skip
_CLOSERS: Final = 0x5054  # class of advisory locks; the period's id is the other half
log = structlog.get_logger(__name__)


class CannotClose(Exception):
    """Why a month may not be closed now."""


class Watcher:
    """Who is told how far a close is. This one does not listen."""

    def told(self, step: str) -> None:
        """Hear what is done now."""

    def watched(self, label: str, report: MonthReport) -> MonthReport:
        """The report that is written now, to be watched."""
        return report

    def end(self) -> None:
        """Hear that it is done."""


def close_period(
    period: BillingPeriod,
    *,
    acting_user: User | None = None,
    forced_reason: str = "",
    grace: timedelta | None = None,
    watcher: Watcher | None = None,
    keep: statement_files.Keep = StatementFile.save,
) -> Statement:
    """Close a month and return its statement; one that is closed already returns the one it has.

    Raises CannotClose for a month that has not ended, that follows one still open, that ended less than `grace`
    (the tenant's policy: 48 hours) ago, or with calls still open; `forced_reason` overrides the last two. What
    goes wrong after that leaves the month `closing`: close it again, or `reopen_period`.
    """
    watcher = watcher or Watcher()
    with _alone(period):
        begin(period, forced_reason=forced_reason, grace=grace)
        statement = issue(period, acting_user=acting_user, forced_reason=forced_reason, watcher=watcher)
        watcher.told("reading the closed ledger")
        statement_files.complete(statement, keep=keep, watched=watcher.watched)
    watcher.end()
    period.refresh_from_db()
    log.info("month_closed", tenant=period.tenant_id, month=period.label, statement=statement.code)
    return statement


@transaction.atomic
def reopen_period(period: BillingPeriod) -> BillingPeriod:
    """Take a month out of `closing`, as long as it has no statement. Raises CannotClose."""
    locked = locked_period(period)
    if locked.status == Status.CLOSED:
        raise CannotClose(f"{locked.label} is closed for good")
    locked.status = Status.OPEN
    locked.close_asked_at = locked.close_asked_by = locked.close_confirmed_at = locked.close_confirmed_by = (
        None
    )
    locked.close_reason = ""
    locked.save(update_fields=["status", *FOUR_EYES])
    return locked


def open_periods(at: datetime | None = None) -> int:
    """Make the running month of every tenant that has none yet, so that a first call need not; how many tenants."""
    moment = at or now()
    tenants = Tenant.objects.exclude(status=Tenant.Status.CLOSED).exclude(
        billing_periods__starts_at__lte=moment, billing_periods__ends_at__gt=moment
    )
    return sum(bool(period_at(tenant, at=moment)) for tenant in tenants)


@transaction.atomic
def begin(period: BillingPeriod, *, forced_reason: str = "", grace: timedelta | None = None) -> None:
    """Let nothing enter the month any more. Raises CannotClose; nothing where that is so already."""
    locked = locked_period(period)
    if locked.status != Status.OPEN:
        return
    require_due(locked, forced_reason=forced_reason, grace=grace)
    if four_eyes_of(locked.tenant) and locked.close_confirmed_at is None:
        raise CannotClose(
            f"{locked.label} needs four eyes: one person asks to close it, and another one confirms that"
        )
    _conversion(locked)  # without a rate there is no statement, and the month stays open
    true_up(locked)
    locked.status = Status.CLOSING
    locked.save(update_fields=["status"])


def require_due(locked: BillingPeriod, *, forced_reason: str = "", grace: timedelta | None = None) -> None:
    """Raise CannotClose for a month that is not over, not the next one, or whose calls or grace are not over without a reason."""
    moment = now()
    if moment < locked.ends_at:
        raise CannotClose(f"{locked.label} runs until {locked.ends_at:%Y-%m-%d %H:%M} UTC")
    earlier = BillingPeriod.objects.filter(tenant_id=locked.tenant_id, starts_at__lt=locked.starts_at)
    if waiting := earlier.exclude(status=Status.CLOSED).order_by("starts_at").first():
        raise CannotClose(f"{waiting.label} comes first: it is still {waiting.status}")
    if not forced_reason:
        wait = (
            timedelta(hours=parse_policy(locked.tenant.policy).closing.grace_hours)
            if grace is None
            else grace
        )
        if moment < locked.ends_at + wait:
            raise CannotClose(
                f"late usage of {locked.label} is waited for until {locked.ends_at + wait:%Y-%m-%d %H:%M} UTC"
            )
        if open_calls := open_attempts(locked):
            raise CannotClose(f"{open_calls} calls of {locked.label} are not settled yet")


def open_attempts(period: BillingPeriod) -> int:
    """How many calls of a month have not ended yet."""
    return Attempt.objects.filter(
        tenant_id=period.tenant_id,
        state__in=OPEN_STATES,
        occurred_at__gte=period.starts_at,
        occurred_at__lt=period.ends_at,
    ).count()


@transaction.atomic
def issue(
    period: BillingPeriod,
    *,
    acting_user: User | None = None,
    forced_reason: str = "",
    watcher: Watcher | None = None,
) -> Statement:
    """Write the statement of a month that is being closed, and close it; the statement that is there if it is closed.

    The watcher hears of each step before it is done.
    """
    told = (watcher or Watcher()).told
    locked = locked_period(period)
    tenant = locked.tenant
    if locked.status == Status.CLOSED:
        return Statement.objects.get(period=locked)
    if locked.status == Status.OPEN:
        raise CannotClose(f"{locked.label} was opened again")
    month_reading.prepare()
    told("sealing the ledger's rows")
    day_digests = digest.day_digests(tenant.pk, locked.pk, version=digest.NEWEST)
    tree = plant(tenant.pk, locked.pk)
    told("summing the lines")
    conversion = _conversion(locked)
    currency, fx_rate = conversion.currency, conversion.rate
    with opened_lines(locked, timezone=locked.timezone, currency=currency, fx_rate=fx_rate) as made:
        issuer = settings.ISSUER_NAME
        serial = _next_serial(issuer)
        issued_at = now()
        previous = Statement.objects.filter(tenant=tenant).order_by("-number").first()
        terms = terms_of(tenant, issued_at=issued_at, timezone=locked.timezone)
        terms = with_set_off(terms, locked, total=made.total, currency=currency, fx_rate=fx_rate)
        statement = Statement(
            tenant=tenant,
            period=locked,
            number=previous.number + 1 if previous else 1,
            issuer=issuer,
            serial=serial,
            code=f"ST-{locked.label}-{serial:06d}",
            timezone=locked.timezone,
            currency=currency,
            fx_rate=fx_rate,
            fx_day=conversion.day,
            fx_source=conversion.source,
            record_count=made.row_count,
            request_count=made.request_count,
            exact_usd=made.exact_usd,
            rounding=made.rounding,
            total=made.total,
            tax=tax_on(made.total, terms, currency=currency),
            terms=as_stored(terms),
            certainty=_certainty(made.whole.certainty),
            previous_digest=previous.digest if previous else "",
            day_digests=day_digests,
            content_version=digest.NEWEST,
            receipts=tree.facts(),
            issued_at=issued_at,
            issued_by=acting_user,
            forced_reason=forced_reason,
        )
        told("writing the statement")
        file = statement_files.sealed_lines(statement)
        certificate = issuing.drafted(statement, closed_by=acting_user)
        statement.certificate = certificate.digest
        statement.content_digest = digest.text_digest(texts_of_made(), {file.format: file.sha256})
        statement.digest = digest_of(statement)
        told("storing the lines")
        statement.save(force_insert=True)
        store_lines(statement.pk)
        issuing.store(certificate, statement)
    told("closing the month")
    file.statement = statement
    file.save(force_insert=True)
    if tree.row_count:
        ReceiptTree.objects.create(
            statement=statement,
            tenant=tenant,
            period=locked,
            code=statement.code,
            row_count=tree.row_count,
            root=tree.root,
            chunks=tree.chunks,
        )
    chargeback_sheets.seal(statement)
    locked.status, locked.closed_at, locked.digest = Status.CLOSED, issued_at, statement.digest
    locked.save(update_fields=["status", "closed_at", "digest"])
    return statement


def digest_of(statement: Statement) -> str:
    """The digest of a statement's facts, chained to the one before."""
    return digest.chained(statement.previous_digest, facts_of(statement))


def facts_of(statement: Statement) -> dict[str, Any]:
    """What a statement's digest is made of, besides the digest of the one before it: JSON."""
    period = statement.period
    facts = {
        "version": digest.VERSION,
        "tenant": statement.tenant_id,
        "month": period.label,
        "starts_at": int(period.starts_at.timestamp()),
        "ends_at": int(period.ends_at.timestamp()),
        "timezone": statement.timezone,
        "number": statement.number,
        "code": statement.code,
        "currency": statement.currency,
        "fx_rate": f"{statement.fx_rate:.12f}",
        "rows": statement.record_count,
        "requests": statement.request_count,
        "exact_usd": f"{statement.exact_usd:.12f}",
        "rounding": f"{statement.rounding:.12f}",
        "total": f"{statement.total:.12f}",
        "days": statement.day_digests,
        "content": statement.content_digest,
        "issued_at": int(statement.issued_at.timestamp() * 1_000_000),
        "forced_reason": statement.forced_reason,
    }
    if statement.serial is not None:  # what came later is part of the statements that have it
        facts |= {
            "issuer": statement.issuer,
            "serial": statement.serial,
            "certainty": statement.certainty,
        }
    if statement.fx_day:
        facts |= {"fx_day": str(statement.fx_day), "fx_source": statement.fx_source}
    if statement.terms:
        facts |= {"terms": statement.terms, "tax": f"{statement.tax:.12f}"}
    if statement.receipts:
        facts |= {"receipts": statement.receipts}
    if statement.certificate:
        facts |= {"certificate": statement.certificate}
    if statement.content_version != digest.LINES_AS_JSON:
        facts["content_version"] = statement.content_version
    return facts


def _next_serial(issuer: str) -> int:
    """The next number of an issuer; its other statements wait for it until this transaction ends, so that none is left out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('billing_statement ' || %s, 0))", (issuer,)
        )
    last = Statement.objects.filter(issuer=issuer).aggregate(last=Max("serial"))["last"]
    return (last or 0) + 1


def _conversion(period: BillingPeriod) -> Conversion:
    """By what the month's amounts are converted: of its last day. Raises CannotClose where that is not known."""
    last_day = (period.ends_at.astimezone(ZoneInfo(period.timezone)) - timedelta(microseconds=1)).date()
    try:
        return conversion_of(period.tenant, last_day=last_day)
    except NoRate as error:
        raise CannotClose(str(error)) from None


def _certainty(certainty: tuple[Sure, ...]) -> dict[str, dict[str, Any]]:
    """How sure the sum is, as the statement keeps it."""
    return {
        sure.certainty: {
            "records": sure.records,
            "amount_usd": plain(sure.amount_usd),
            "least_usd": plain(sure.least_usd),
            "most_usd": plain(sure.most_usd),
        }
        for sure in certainty
    }


@contextmanager
def _alone(period: BillingPeriod) -> Iterator[None]:
    """One process at a time closes a month and makes its files; others wait, and find it done."""
    key = (_CLOSERS, period.pk % 2**31)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", key)
    try:
        yield
    finally:
        if connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)


def locked_period(period: BillingPeriod) -> BillingPeriod:
    """The period, locked, and its tenant's numbering with it; waits for rows that are on their way in."""
    Tenant.objects.select_for_update(no_key=True).get(pk=period.tenant_id)
    return BillingPeriod.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=period.pk)
