"""`manage.py revoke_price`: revoke a price before it is in force; the same function as the admin's."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from billing.models import PriceRow
from billing.prices.editing import revoke_price
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    help = "Revoke a price before it is in force; the one before it stays in force. Its number is in the admin's address."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("price", type=int, help="the number of the price row")
        parser.add_argument("--reason", required=True)

    def handle(self, *, price: int, reason: str, **options: Any) -> None:
        row = PriceRow.objects.filter(pk=price).first()
        if row is None:
            raise CommandError(f"there is no price {price}")
        try:
            remaining = revoke_price(row, reason=reason)
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        self.stdout.write(f"revoked: {row}" + (f"; stays in force: {remaining}" if remaining else ""))
