"""`manage.py import_prices`: list prices of the installed wheel into our table."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser

from billing.prices.importing import approve_proposal, import_list_prices
from billing.prices.lists import source_name
from tenants.people.commands import RecordedCommand

SHOWN = 40


class Command(RecordedCommand):
    help = "Import list prices: new models immediately, changed rates as a proposal that a person approves."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="show what would change, and change nothing"
        )
        parser.add_argument("--approve", action="store_true", help="approve what this import proposes")
        parser.add_argument("--user", help="who approves: a username; with --approve")
        parser.add_argument("--provider", action="append", default=[], help="only this one; may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        acting_user = self._user(options["user"]) if options["user"] else None
        imported = import_list_prices(providers=options["provider"], is_dry_run=options["dry_run"])
        difference = imported.difference
        self.stdout.write(f"{source_name()}, sha256 {imported.digest[:16]}")
        verb = "would be added" if options["dry_run"] else "added"
        self.stdout.write(f"{len(difference.added_models)} models, {len(difference.added)} prices {verb}")
        for change in difference.changed[:SHOWN]:
            self.stdout.write(f"  {change}")
        if len(difference.changed) > SHOWN:
            self.stdout.write(f"  ... and {len(difference.changed) - SHOWN} more")
        if imported.proposal is None:
            self.stdout.write("no rate changes" if not difference.changed else "nothing was proposed")
        elif options["approve"] and imported.proposal.status == imported.proposal.Status.PROPOSED:
            approve_proposal(imported.proposal, acting_user=acting_user)
            self.stdout.write(f"proposal {imported.proposal.pk} approved: {len(difference.changed)} changes")
        else:
            state = imported.proposal.get_status_display()
            self.stdout.write(
                f"proposal {imported.proposal.pk} is {state}: {len(difference.changed)} changes"
            )

    def _user(self, username: str) -> Any:
        try:
            return get_user_model().objects.get(username=username)
        except get_user_model().DoesNotExist:
            raise CommandError(f"there is no user {username!r}") from None
