"""`manage.py journal`: a month as balanced entries for a general ledger; what is not closed is accrued and reversed."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.contracts.currencies import NoRate
from billing.journal.entries import NoAccount, file_name, journal_csv, journal_of
from billing.models import BillingPeriod
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Write the journal of a tenant's month, or of all tenants' that have one of this name, one file each."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--tenant", help="slug of the tenant")
        whose.add_argument("--all", action="store_true", help="all tenants")
        parser.add_argument("--month", required=True, help="YYYY-MM")
        parser.add_argument("--output", type=Path, default=Path(), help="folder of the files; default: here")

    def handle(self, *, tenant: str | None, month: str, output: Path, **options: Any) -> None:
        tenants = Tenant.objects.filter(billing_periods__label=month).order_by("slug")
        tenants = tenants if options["all"] else tenants.filter(slug=tenant)
        if not tenants:
            raise CommandError(f"no tenant{'' if options['all'] else f' {tenant!r}'} has a month {month!r}")
        for one in tenants:
            path = output / file_name(one, month)
            try:
                content = journal_csv(journal_of(one, month=month))
                output.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except (NoAccount, NoRate, BillingPeriod.DoesNotExist) as error:
                raise CommandError(f"{one.slug}: {error}") from None
            except OSError as error:
                raise CommandError(f"{path}: {error.strerror}") from error
            self.stdout.write(str(path))
