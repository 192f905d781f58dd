"""`manage.py verify receipt.json statement.json ...`: check a receipt, or a certificate, against statements, without database or
network."""

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing.months.proofs.verify import main


class Command(BaseCommand):
    help = "Check that a receipt's rows, or a certificate, are part of a statement. Reads the files and nothing else."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("receipt", help="the answer of GET /v1/requests/{id}, or a certificate")
        parser.add_argument(
            "statements", nargs="+", metavar="statement", help="as the statement's page gives it"
        )

    def handle(self, *, receipt: str, statements: list[str], **options: Any) -> None:
        if status := main([receipt, *statements]):
            sys.exit(status)
