"""`manage.py prepare`: everything between an empty database and the first request. Idempotent.

Migrations, list prices, and on request the site's static files, a configuration file and the operator.
"""

import time
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandParser

from config import environment
from config.running.demo_facts import ADMIN_USERNAME
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    has_entry = False  # at each start
    help = "Bring the database up to date, import list prices, and load what the options name."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--static", action="store_true", help="collect the site's static files, too")
        parser.add_argument(
            "--demo", metavar="FILE", help="apply this configuration file and create the operator"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._step("migrate", verbosity=0)
        if options["static"]:
            self._step("collectstatic", verbosity=0, interactive=False)
        self._step("import_prices")
        if options["demo"]:
            self._step("apply", options["demo"])
        if options["demo"] or environment.text("PURSER_ADMIN_PASSWORD"):
            self._step("ensure_admin", ADMIN_USERNAME)

    def _step(self, command: str, *arguments: str, **options: Any) -> None:
        started = time.monotonic()
        call_command(command, *arguments, stdout=self.stdout, stderr=self.stderr, **options)
        self.stdout.write(f"{command}: {time.monotonic() - started:.2f} s")
