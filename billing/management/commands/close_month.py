"""`manage.py close_month`: close a tenant's month; the same function as the admin's and the schedule's."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from billing.four_eyes import four_eyes_of
from billing.models import BillingPeriod
from billing.months.closing import CannotClose, close_period
from billing.months.jobs.approving import ask
from billing.months.jobs.bar import Bar
from billing.months.lines import UnbalancedStatement
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    help = "Close a month for good: its statement is the ledger's sum, and later rows go into the next month."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="slug of the tenant")
        parser.add_argument("--month", required=True, help="YYYY-MM, in the tenant's time zone")
        parser.add_argument(
            "--grace-hours",
            type=int,
            help="wait for late usage this long after the month's end; default: policy",
        )
        parser.add_argument(
            "--force", default="", metavar="REASON", help="close before that time, or with calls still open"
        )
        parser.add_argument(
            "--as",
            dest="person",
            default="",
            metavar="USERNAME",
            help="who asks, of a month that needs four eyes; somebody else confirms it in the admin",
        )

    def handle(
        self, *, tenant: str, month: str, grace_hours: int | None, force: str, person: str, **options: Any
    ) -> None:
        period = BillingPeriod.objects.filter(tenant__slug=tenant, label=month).first()
        if period is None:
            raise CommandError(f"{tenant!r} has no month {month!r} with usage")
        if period.status == BillingPeriod.Status.OPEN and four_eyes_of(period.tenant):
            self._ask(period, person=person, reason=force)
            return
        grace = None if grace_hours is None else timedelta(hours=grace_hours)
        try:
            statement = close_period(period, forced_reason=force, grace=grace, watcher=Bar(self.stderr))
        except (CannotClose, UnbalancedStatement) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"{statement.code}: {statement.total:f} {statement.currency} ({statement.exact_usd:f} USD exactly,"
            f" {statement.record_count} rows), sha256 {statement.digest}"
        )

    def _ask(self, period: BillingPeriod, *, person: str, reason: str) -> None:
        """Ask under a person's name. A command never confirms: whoever runs it could be the same person twice."""
        asking = User.objects.filter(username=person, is_active=True).first()
        if asking is None:
            raise CommandError("the tenant's policy asks for four eyes: say who asks with --as USERNAME")
        try:
            ask(period, acting_user=asking, reason=reason)
        except CannotClose as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{period.label} waits: another person than {person} confirms it in the admin")
