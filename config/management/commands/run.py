"""`manage.py run`: the product in the foreground, as `make run` starts it."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from config.running.supervisor import Supervisor


class Command(BaseCommand):
    help = "Start everything, drive the demonstration once, and serve until Ctrl-C."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end after the demonstration")

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(Supervisor(home=settings.PURSER_HOME, port=settings.PORT, once=options["once"]).run())
