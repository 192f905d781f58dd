"""A month that needs four eyes is closed by two people, whichever way they come."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections, transaction
from django.utils.timezone import now

from billing.models import AlertEvent, BillingPeriod, MonthJob, Statement
from billing.months.closing import CannotClose, begin, close_period, reopen_period
from billing.months.jobs import working
from billing.months.jobs.approving import ask, begin_due, close_or_ask, confirm, take_back
from tenants.models import AuditEntry, Membership, PlatformRole
from tests.billing.shop import Shop


def person(*roles: str) -> User:
    """Somebody of finance, unless the test names another role on the platform."""
    user = User.objects.create(username=f"person-{uuid4().hex[:8]}", is_staff=True)
    for role in roles or (PlatformRole.Role.FINANCE,):
        PlatformRole.objects.create(user=user, role=role)
    return user


@pytest.fixture
def period(shop: Shop, last_month: datetime, without_workers: None) -> Iterator[BillingPeriod]:
    """A month that is over, of a tenant that asks for four eyes."""
    shop.tenant.policy = {"closing": {"four_eyes": True, "grace_hours": 0}}
    shop.tenant.save()
    shop.call(last_month)
    yield shop.period(last_month)
    MonthJob.objects.filter(tenant=shop.tenant).delete()  # no other test's worker takes them


def work(period: BillingPeriod) -> Statement:
    """Do the job that closes the month, as a worker would."""
    job = MonthJob.objects.get(tenant=period.tenant, month=period.label, kind="close", state="queued")
    MonthJob.objects.filter(pk=job.pk).update(
        state="running", worker=uuid4(), leased_until=now() + timedelta(minutes=1)
    )
    working.work_on(MonthJob.objects.get(pk=job.pk))
    return Statement.objects.get(period=period)


def test_it_works(period: BillingPeriod) -> None:
    asker, other = person(), person()
    assert close_or_ask(period, acting_user=asker) is None
    period.refresh_from_db()
    assert (period.status, period.close_asked_by, period.close_confirmed_by) == ("open", asker, None)
    assert AlertEvent.objects.filter(
        metric="close_asked", subject_key=f"{period.tenant.slug} {period.label}"
    ).exists()
    confirm(period, acting_user=other)
    period.refresh_from_db()
    assert (period.status, period.close_confirmed_by) == ("closing", other)
    assert work(period).issued_by == other
    period.refresh_from_db()
    assert (period.status, period.close_asked_by, period.close_confirmed_by) == ("closed", asker, other)


def test_nobody_confirms_what_they_asked_for(period: BillingPeriod) -> None:
    asker = person()
    ask(period, acting_user=asker)
    for again in (confirm, ask, close_or_ask):
        with pytest.raises(CannotClose, match="another person confirms"):
            again(period, acting_user=asker)
    with pytest.raises(IntegrityError, match="period_close_by_two"), transaction.atomic():
        BillingPeriod.objects.filter(pk=period.pk).update(close_confirmed_at=now(), close_confirmed_by=asker)
    with pytest.raises(IntegrityError, match="period_close_by_two"), transaction.atomic():
        BillingPeriod.objects.filter(pk=period.pk).update(close_confirmed_at=now())
    period.refresh_from_db()
    assert period.status == "open"


def test_a_second_ask_is_told_to_confirm(period: BillingPeriod) -> None:
    asker = person()
    ask(period, acting_user=asker)
    with pytest.raises(CannotClose, match=f"{asker.username} asked .* confirm that instead"):
        ask(period, acting_user=person())


def test_nothing_closes_it_without_both(period: BillingPeriod) -> None:
    with pytest.raises(CannotClose, match="nobody asked"):
        confirm(period, acting_user=person())
    ask(period, acting_user=person())
    for close in (begin, close_period):
        with pytest.raises(CannotClose, match="four eyes"):
            close(period)
        with pytest.raises(CannotClose, match="four eyes"):
            close(period, forced_reason="I am in a hurry")
    period.refresh_from_db()
    assert period.status == "open"


def test_the_schedule_asks_once_and_never_confirms(period: BillingPeriod) -> None:
    period.tenant.policy = {"closing": {"four_eyes": True, "grace_hours": 0, "auto": True}}
    period.tenant.save()
    for _ in range(3):
        assert period.pk not in {one.pk for one in begin_due()}
    period.refresh_from_db()
    assert (period.status, period.close_asked_by) == ("open", None)
    assert period.close_asked_at is not None
    asked = AlertEvent.objects.filter(
        metric="close_asked", subject_key=f"{period.tenant.slug} {period.label}"
    )
    assert asked.count() == 1
    one = person()
    confirm(period, acting_user=one)
    assert work(period).issued_by == one


def test_the_command_asks_and_never_confirms(period: BillingPeriod) -> None:
    options = {"tenant": period.tenant.slug, "month": period.label}
    with pytest.raises(CommandError, match="--as"):
        call_command("close_month", **options)
    with pytest.raises(CommandError, match="--as"):
        call_command("close_month", **options, person="nobody")
    with pytest.raises(CommandError, match="may not close"):
        call_command("close_month", **options, person=person(PlatformRole.Role.READER).username)
    asker, other, out = person(), person(), StringIO()
    call_command("close_month", **options, person=asker.username, stdout=out)
    assert "another person" in out.getvalue()
    for name in (asker.username, other.username):
        with pytest.raises(CommandError, match="asked"):
            call_command("close_month", **options, person=name)
    period.refresh_from_db()
    assert (period.status, period.close_asked_by) == ("open", asker)
    with pytest.raises(CannotClose, match="another person"):
        confirm(period, acting_user=asker)
    confirm(period, acting_user=other)


def test_who_lost_the_right_neither_asks_nor_confirms(period: BillingPeriod) -> None:
    asker, leaver, owner = person(), person(), person(PlatformRole.Role.READER)
    Membership.objects.create(user=owner, tenant=period.tenant, role=Membership.Role.OWNER)
    ask(period, acting_user=asker)
    PlatformRole.objects.filter(user=leaver).delete()
    with pytest.raises(CannotClose, match="you may not close"):
        confirm(period, acting_user=leaver)
    PlatformRole.objects.filter(user=asker).update(role=PlatformRole.Role.READER)
    with pytest.raises(CannotClose, match="may not close months any more"):
        confirm(period, acting_user=owner)
    ask(period, acting_user=owner)  # in place of the ask that counts no more
    with pytest.raises(CannotClose, match="another person"):
        confirm(period, acting_user=owner)
    confirm(period, acting_user=person())
    assert work(period).code


def test_what_is_confirmed_is_what_was_asked_for(
    period: BillingPeriod, shop: Shop, last_month: datetime
) -> None:
    shop.open_attempt(last_month)
    with pytest.raises(CannotClose, match="1 calls"):
        ask(period, acting_user=person())
    ask(period, acting_user=person(), reason="the provider never answers")
    confirm(period, acting_user=person())
    assert work(period).forced_reason == "the provider never answers"


def test_a_month_that_is_being_closed_takes_no_ask(period: BillingPeriod) -> None:
    ask(period, acting_user=person())
    confirm(period, acting_user=person())
    for late in (confirm, ask):
        with pytest.raises(CannotClose, match="being closed already"):
            late(period, acting_user=person())
    with pytest.raises(CannotClose, match="being closed already"):
        take_back(period)
    reopen_period(period)
    with pytest.raises(CannotClose, match="nobody asked"):
        confirm(period, acting_user=person())


def test_an_ask_is_taken_back(period: BillingPeriod) -> None:
    asker = person()
    ask(period, acting_user=asker)
    take_back(period)
    with pytest.raises(CannotClose, match="nobody asked"):
        confirm(period, acting_user=person())
    ask(period, acting_user=asker)
    confirm(period, acting_user=person())


def test_two_people_confirm_one_close(period: BillingPeriod) -> None:
    """At the same time: one begins it, the others are told."""
    ask(period, acting_user=person())
    people, said = [person() for _ in range(4)], []

    def press(one: User) -> None:
        try:
            confirm(period, acting_user=one)
        except CannotClose as error:
            said.append(str(error))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=press, args=(one,)) for one in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [f"{period.label} is being closed already"] * 3
    assert MonthJob.objects.filter(tenant=period.tenant, kind="close").count() == 1


def test_the_audit_log_has_both(period: BillingPeriod) -> None:
    ask(period, acting_user=person())
    confirm(period, acting_user=person())
    entries = AuditEntry.objects.filter(object_type="billing.billingperiod", object_id=str(period.pk))
    changed = [set(entry.changes) for entry in entries.order_by("pk")]
    assert any("close_asked_at" in one for one in changed)
    assert any("close_confirmed_at" in one for one in changed)
    assert any("status" in one for one in changed)


def test_without_the_policy_one_person_closes(
    shop: Shop, last_month: datetime, without_workers: None
) -> None:
    shop.call(last_month)
    job = close_or_ask(shop.period(last_month), acting_user=person(), reason="the tenant leaves")
    assert job is not None
    assert shop.period(last_month).status == "closing"
    job.delete()
