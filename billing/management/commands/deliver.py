"""`manage.py deliver`: what of months goes where by itself, and one of them now; the same functions as the admin's."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from billing.deliveries import outbox
from billing.models import ReportDelivery, ReportSchedule
from billing.months.report import InvalidMonth, month_bounds
from tenants.models import Tenant
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    help = "List schedules of reports with their last deliveries, send what is due, or have one deliver a month now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--tenant", default="", help="slug of the tenant; without one: all tenants together"
        )
        parser.add_argument("--name", default="", help="the schedule that delivers now")
        parser.add_argument("--month", default="", help="YYYY-MM, which it delivers")
        parser.add_argument("--due", action="store_true", help="send what is due, of all schedules")

    def handle(self, *, tenant: str, name: str, month: str, due: bool, **options: Any) -> None:
        if due:
            self.stdout.write(f"{outbox.deliver_due()} delivered")
            return
        owner = Tenant.objects.filter(slug=tenant).first() if tenant else None
        if tenant and owner is None:
            raise CommandError(f"no tenant is called {tenant!r}")
        schedules = ReportSchedule.objects.filter(tenant=owner).defer(*outbox.SECRETS)
        if name:
            self._deliver(schedules.filter(name=name).first(), name=name, month=month)
            return
        for schedule in schedules:
            self._show(schedule)

    def _deliver(self, schedule: ReportSchedule | None, *, name: str, month: str) -> None:
        if schedule is None:
            raise CommandError(f"no schedule is called {name!r}")
        try:
            month_bounds(month, "UTC")
        except InvalidMonth as error:
            raise CommandError(f"--month: {error}") from None
        delivery = outbox.ask_now(schedule, month=month)
        self.stdout.write(f"{delivery}: queued; workers make its files and send them")

    def _show(self, schedule: ReportSchedule) -> None:
        state = "" if schedule.is_active else ", paused"
        self.stdout.write(f"{schedule}: {schedule.get_what_display()}, {schedule.get_when_display()}{state}")
        for one in ReportDelivery.objects.filter(schedule=schedule).order_by("-created_at")[:3]:
            self.stdout.write(f"  {one.occasion}: {one.state} {one.last_error or one.place}".rstrip())
