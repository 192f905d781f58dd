"""`manage.py rate VECTORS.json`: rates test vectors, one JSON line each."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.reconciliation.provider_reports import parse_json
from billing.vectors.replay import rate_file


class Command(BaseCommand):
    help = "Rate each vector of a file with the product's own code; one JSON line each."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", type=Path, help="vectors as in tests/billing/vectors/data/cost_vectors_public.json"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            content = parse_json(options["file"].read_bytes())
        except (OSError, ValueError) as error:
            raise CommandError(f"{options['file']}: {error}") from None
        for result in rate_file(content):
            self.stdout.write(json.dumps(result))
