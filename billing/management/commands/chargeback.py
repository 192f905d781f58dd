"""`manage.py chargeback`: what the cost centres of a tenant bear of a month, as a file; the same as the admin's page."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.models import BillingPeriod
from billing.months.chargeback_sheets import FORMATS, NoSuchChargeback, file_of
from billing.months.report import one_snapshot


class Command(BaseCommand):
    help = "Write the chargebacks of a tenant's month, which make its statement, into a file, and name it on the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="slug of the tenant")
        parser.add_argument("--month", required=True, help="YYYY-MM")
        parser.add_argument("--cost-center", help="one of them; '' is the rest that none has; default: all")
        parser.add_argument(
            "--format", choices=sorted(FORMATS), default="csv", help="a PDF is of one cost centre"
        )
        parser.add_argument(
            "--output", type=Path, default=Path(), help="folder of the file; default: the current one"
        )

    def handle(
        self, *, tenant: str, month: str, cost_center: str | None, format: str, output: Path, **options: Any
    ) -> None:
        period = (
            BillingPeriod.objects.select_related("tenant").filter(tenant__slug=tenant, label=month).first()
        )
        if period is None:
            raise CommandError(f"the tenant {tenant!r} has no month {month!r}")
        try:
            with one_snapshot():
                name, content = file_of(period, format_name=format, cost_center=cost_center)
        except NoSuchChargeback as error:
            raise CommandError(str(error)) from None
        path = output / name
        try:
            output.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from error
        self.stdout.write(str(path))
