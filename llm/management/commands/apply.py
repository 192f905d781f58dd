"""`manage.py apply FILE.yaml`: bring the database to what a configuration file says."""

import os
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from llm.configuration import ConfigurationError, apply_configuration
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    """Parses its arguments, applies the file, prints what changed."""

    help = "Create or update everything a YAML file declares. Idempotent; an error changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="the configuration file, or - for standard input")
        parser.add_argument("--dry-run", action="store_true", help="print what would change, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            text = (
                sys.stdin.read()
                if options["file"] == "-"
                else Path(options["file"]).read_text(encoding="utf-8")
            )
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['file']}: cannot be read: {error}") from None
        try:
            changes = apply_configuration(
                text, source=options["file"], environ=os.environ, dry_run=options["dry_run"]
            )
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        for line in changes.lines():
            self.stdout.write(line)
