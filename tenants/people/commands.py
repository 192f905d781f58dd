"""Commands that change something, as the audit log knows them: who ran which, with what.

Invariant: what a command changes is entered under the name of the operating system's user who ran it. A run that failed, or
that only shows what it would do, is no entry of its own.
"""

from getpass import getuser
from os import getuid
from typing import Any, ClassVar, Final

from django.core.management.base import BaseCommand

from tenants.models import Tenant
from tenants.people import audit

DJANGOS_OPTIONS: Final = frozenset(
    {
        *("verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks"),
        *("stdout", "stderr"),
    }
)


class RecordedCommand(BaseCommand):
    """A command whose changes stand in the audit log."""

    has_entry: ClassVar[bool] = True  # whether each run is an entry too, beside what it changed

    def execute(self, *args: Any, **options: Any) -> str | None:
        name = type(self).__module__.rpartition(".")[2]
        with audit.acting_as(f"{_operator()} (manage.py {name})"):
            output = super().execute(*args, **options)
            if self.has_entry and not options.get("dry_run"):
                asked = {key: value for key, value in options.items() if key not in DJANGOS_OPTIONS}
                tenant = Tenant.objects.filter(slug=str(options.get("tenant") or "")).first()
                audit.record(
                    f"ran {name}",
                    object_name=f"manage.py {name}",
                    tenant_id=None if tenant is None else tenant.pk,
                    changes=audit.answers_of(asked),
                )
        return output


def _operator() -> str:
    try:
        return getuser()
    except (ImportError, KeyError, OSError):  # a container's user without a name
        return f"user {getuid()}"
