"""Servers of a benchmark's own, so that it measures a known state and disturbs nobody.

Invariant: import this before anything that reads Django's settings; what `own_postgres` starts is ended with it, and by
the kernel when the benchmark is killed.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from config.running import embedded


@contextlib.contextmanager
def own_postgres(kept: Path | None = None) -> Iterator[str]:
    """An embedded PostgreSQL with our schema, fsync on, and Django set up on it: empty, or with what the folder `kept` has.
    Its address."""
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
    home = kept or Path(tempfile.mkdtemp(prefix="purser-bench-"))
    server = None
    try:
        server = embedded.start_postgres(home)
        os.environ |= {
            "PURSER_HOME": str(home),
            "DATABASE_URL": server.url,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "LOG_LEVEL": os.environ.get("LOG_LEVEL", "ERROR"),
        }
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        connections.close_all()
        yield server.url
    finally:
        if server:
            server.stop()
        if not kept:
            shutil.rmtree(home, ignore_errors=True)
