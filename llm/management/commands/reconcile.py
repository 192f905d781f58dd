"""`manage.py reconcile`: compare a provider's bill with the ledger, pulled from the provider or read from a file."""

from datetime import UTC, date, timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.utils.timezone import now

from billing.models import CostComparison
from billing.reconciliation.provider_reports import InvalidReport
from llm.models import Provider
from llm.reconciliation.pulling import DAYS_BACK, CannotPull, Reconciled, pull, upload
from tenants.people.commands import RecordedCommand

Kind = CostComparison.Kind


class Command(RecordedCommand):
    help = (
        "Compare provider accounts' own cost reports with the ledger, by UTC day, model and meter. Without --file the"
        " reports are pulled with the accounts' admin keys; without days, the last three that are over."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--provider", help="name of the account; default: all that have an admin key")
        parser.add_argument("--file", type=Path, help="the report as JSON pages or the console's CSV export")
        parser.add_argument("--from", dest="first", type=date.fromisoformat, help="first UTC day, YYYY-MM-DD")
        parser.add_argument("--to", dest="last", type=date.fromisoformat, help="last UTC day, included")

    def handle(
        self,
        *,
        provider: str | None,
        file: Path | None,
        first: date | None,
        last: date | None,
        **options: Any,
    ) -> None:
        if file and not provider:
            raise CommandError("--file needs --provider: whose report is it?")
        for account in _accounts(provider):
            try:
                done = _reconcile(account, file=file, first=first, last=last)
            except (CannotPull, InvalidReport, OSError) as error:
                raise CommandError(str(error)) from None
            except ValidationError as error:
                raise CommandError(" ".join(error.messages)) from None
            self._print_result(account, done)

    def _print_result(self, account: Provider, done: Reconciled) -> None:
        report = done.report
        self.stdout.write(
            f"{account.name}: {report.first_day} to {report.last_day}, {report.line_count} lines,"
            f" {report.total_usd:.6f} USD billed; {done.open_count} of {len(done.comparisons)} comparisons open"
        )
        for row in done.comparisons:
            if row.kind != Kind.MATCH:
                self.stdout.write(
                    f"  {row.day} {row.model or '-'} {row.meter or '-'}: {row.kind} {row.difference_usd:+.6f} USD"
                    f" ({row.status}; {row.detail})"
                )


def _accounts(name: str | None) -> list[Provider]:
    if name:
        found = list(Provider.objects.filter(name=name))
        if not found:
            raise CommandError(f"there is no provider {name!r}")
        return found
    accounts = [each for each in Provider.objects.filter(is_active=True) if each.admin_api_key]
    if not accounts:
        raise CommandError("no provider account has an admin key; give one, or --file a report")
    return accounts


def _reconcile(account: Provider, *, file: Path | None, first: date | None, last: date | None) -> Reconciled:
    if file:
        return upload(account, file.read_bytes(), file_name=file.name, first=first, last=last)
    yesterday = now().astimezone(UTC).date() - timedelta(days=1)
    ends = last or max(first or yesterday, yesterday)
    return pull(account, first=first or ends - timedelta(days=DAYS_BACK - 1), last=ends)
