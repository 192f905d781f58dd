"""`manage.py demo`: drives the main job once through the official SDKs and prints what each call cost and saved."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from config.running.demonstration import Demonstration, DemonstrationFailed
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    has_entry = False  # at each start
    help = "Drive the demo tenant once through the OpenAI and Anthropic SDKs, and show what each call cost and saved."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--facts",
            default=str(Path(settings.PURSER_HOME) / "demo.json"),
            help="where `make run` wrote its addresses",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        facts = Path(options["facts"])
        if not facts.exists():
            raise CommandError(f"{facts} does not exist: start the product first, with `make run`.")
        try:
            Demonstration(json.loads(facts.read_text())).run()
        except DemonstrationFailed as error:
            raise CommandError(str(error)) from error
