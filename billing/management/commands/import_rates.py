"""`manage.py import_rates FILE.csv`: store rates between currencies (date,base,quote,rate,source), all or none."""

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from billing.contracts.currencies import import_rates
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    help = "Store rates between currencies from a CSV with the columns date, base, quote, rate, source."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *, file: Path, **options: Any) -> None:
        try:
            found = import_rates(file.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(str(error)) from None
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"{len(found)} rates are stored")
