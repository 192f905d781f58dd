"""`manage.py serve`: only the web server. PostgreSQL, Redis and Celery run elsewhere."""

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from config.running import web


class Command(BaseCommand):
    help = "Serve the API and the site with one worker per core; the server replaces this process."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1")
        parser.add_argument(
            "--workers", type=int, default=web.default_workers(), help="default: one per core"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        os.environ.update(web.clean_metrics(settings.PURSER_HOME / "metrics"))
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # granian wants the folder, even an empty one
        command = web.granian(
            host=options["host"],
            port=settings.PORT,
            workers=options["workers"],
            static_root=settings.STATIC_ROOT,
        )
        os.execv(command[0], command)  # noqa: S606 there is no shell on purpose
