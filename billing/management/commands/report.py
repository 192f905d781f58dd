"""`manage.py report`: the month of a tenant as a file; the same function as the admin's page."""

import io
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.months.exports import FORMATS, export, file_name
from billing.months.parts import MonthReport
from billing.months.report import InvalidMonth, month_report
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Write a tenant's month, summing to the ledger, as CSV (to stdout unless --out), XLSX or FOCUS 1.2."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="slug of the tenant")
        parser.add_argument("--month", required=True, help="YYYY-MM, in the tenant's time zone")
        parser.add_argument("--format", choices=sorted(FORMATS), default="csv")
        parser.add_argument(
            "--out", type=Path, help="file to write; default: stdout for csv, TENANT-MONTH.* otherwise"
        )

    def handle(self, *, tenant: str, month: str, format: str, out: Path | None, **options: Any) -> None:
        try:
            report = month_report(Tenant.objects.get(slug=tenant), month=month)
        except Tenant.DoesNotExist:
            raise CommandError(f"no tenant is called {tenant!r}") from None
        except InvalidMonth as error:
            raise CommandError(str(error)) from None
        if out is None and format == "csv":
            # through the command's own stream, so that call_command and a pipe both receive it
            self.stdout.ending = ""
            self.stdout.write(_text(report))
            return
        path = out or Path(file_name(report, format))
        with path.open("wb") as file:
            export(report, format, file)
        self.stdout.write(str(path))


def _text(report: MonthReport) -> str:
    buffer = io.BytesIO()
    export(report, "csv", buffer)
    return buffer.getvalue().decode()
