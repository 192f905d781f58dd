"""`manage.py serve`: the web server alone, for deployments that run their own PostgreSQL, Redis and Celery."""

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from config.supervisor import web_command


class Command(BaseCommand):
    help = "Serve the API and the site with one worker per core; replaces this process."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--workers", type=int, default=None, help="default: one per core")

    def handle(self, *args: Any, **options: Any) -> None:
        metrics = settings.PURSER_HOME / "metrics"
        metrics.mkdir(parents=True, exist_ok=True)
        for stale in metrics.glob("*.db"):
            stale.unlink()
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(metrics))
        command = web_command(
            port=settings.PORT,
            static_root=settings.STATIC_ROOT,
            workers=options["workers"],
            host=options["host"],
        )
        os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 our own arguments
