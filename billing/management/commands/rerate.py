"""`manage.py rerate`: rate past usage again by corrected prices, as a proposal, and approve it."""

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from billing.models import PriceRow, Rerating
from billing.rerating.proposals import (
    NothingToRerate,
    StaleProposal,
    approve_rerating,
    propose_for_price,
    propose_rerating,
)
from tenants.models import Tenant
from tenants.people.commands import RecordedCommand

SHOWN = 20


class Command(RecordedCommand):
    help = "List the calls that the current prices rate differently; with --approve book the differences."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--price", type=int, help="id of the corrected price row")
        parser.add_argument("--proposal", type=int, help="id of a proposal that waits")
        parser.add_argument("--tenant", default="", help="slug; default: every tenant")
        parser.add_argument("--provider", default="")
        parser.add_argument("--model", default="")
        parser.add_argument("--since", help="first moment, such as 2026-10-01 or 2026-10-01T00:00:00+02:00")
        parser.add_argument("--until", help="first moment that is left out; default: now")
        parser.add_argument("--reason", default="", help="shown on the corrections")
        parser.add_argument("--approve", action="store_true", help="book the differences")

    def handle(self, **options: Any) -> None:
        try:
            rerating = self._proposal(options)
        except NothingToRerate as error:
            self.stdout.write(str(error))
            return
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self._show(rerating)
        if not options["approve"]:
            return
        try:
            count = approve_rerating(rerating)
        except StaleProposal as error:
            raise CommandError(str(error)) from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"booked {count} corrections" if count else "it was booked before")

    def _proposal(self, options: dict[str, Any]) -> Rerating:
        try:
            if options["proposal"]:
                return Rerating.objects.get(pk=options["proposal"])
            if options["price"]:
                return propose_for_price(PriceRow.objects.get(pk=options["price"]))
            tenant = Tenant.objects.get(slug=options["tenant"]) if options["tenant"] else None
        except (Rerating.DoesNotExist, PriceRow.DoesNotExist, Tenant.DoesNotExist) as error:
            raise CommandError(str(error)) from None
        if not options["since"] or not options["reason"]:
            raise CommandError("give --price or --proposal, or --since and --reason")
        return propose_rerating(
            starts_at=_moment(options["since"]),
            ends_at=_moment(options["until"]) if options["until"] else datetime.now(UTC),
            reason=options["reason"],
            provider=options["provider"],
            model=options["model"],
            tenant=tenant,
        )

    def _show(self, rerating: Rerating) -> None:
        self.stdout.write(
            f"proposal {rerating.pk} ({rerating.status}): {rerating.record_count} calls, billed"
            f" {rerating.billed_delta:+f} USD, our cost {rerating.provider_delta:+f} USD,"
            f" {rerating.skipped_count} calls cannot be rated"
        )
        for row in rerating.rows.select_related("tenant")[:SHOWN]:
            self.stdout.write(
                f"  {row.occurred_at:%Y-%m-%d %H:%M:%S} {row.tenant} {row.provider}/{row.model}"
                f" {row.record_id}: {row.billed_delta:+f}"
            )
        if rerating.record_count > SHOWN:
            self.stdout.write(f"  ... and {rerating.record_count - SHOWN} more")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is no time such as 2026-10-01T00:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
