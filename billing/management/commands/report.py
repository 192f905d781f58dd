"""`manage.py report`: the month of a tenant, or of all of them, as a file; the same functions as the admin's page."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.months.exports import FORMATS, Format, focus, formats_of, name_of
from billing.months.jobs.bar import Bar
from billing.months.parts import MonthReport
from billing.months.platform import opened_platform
from billing.months.report import InvalidMonth, opened_month
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Write a tenant's month, summing to the ledger, into files, and name them, the last one on the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--tenant", help="slug of the tenant")
        whose.add_argument("--all", action="store_true", help="all tenants together, with our margin")
        parser.add_argument("--month", required=True, help="YYYY-MM, in the tenant's time zone")
        parser.add_argument("--format", choices=sorted(FORMATS), default="csv")
        parser.add_argument(
            "--profile", choices=sorted(focus.PROFILES), default=focus.DEFAULT, help="version of FOCUS"
        )
        parser.add_argument(
            "--output", type=Path, default=Path(), help="folder of the file; default: the current one"
        )

    def handle(
        self, *, tenant: str | None, month: str, format: str, profile: str, output: Path, **options: Any
    ) -> None:
        try:
            opened = (
                opened_platform(month)
                if options["all"]
                else opened_month(Tenant.objects.get(slug=tenant), month=month)
            )
            with opened as report:
                for kind in formats_of(format, profile=profile):
                    path = output / name_of(report, kind)
                    self._write(report, kind, path)
                    self.stdout.write(str(path))
        except Tenant.DoesNotExist:
            raise CommandError(f"no tenant is called {tenant!r}") from None
        except InvalidMonth as error:
            raise CommandError(str(error)) from None

    def _write(self, report: MonthReport, kind: Format, path: Path) -> None:
        """Write a file under another name, and give it its own when it is whole."""
        bar = Bar(self.stderr)
        unfinished = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                kind.write(bar.watched(path.name, report), file)
            unfinished.replace(path)
            bar.end()
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from error
