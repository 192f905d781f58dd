"""`manage.py check --deploy`: whether this machine sees the files that the others keep.

Invariant: it reads a few rows and asks the storage for their names; nothing is written.
"""

from typing import Any, Final

from django.core import checks
from django.core.files.storage import storages
from django.db import DatabaseError

LATEST: Final = 10


def check_files(**kwargs: Any) -> list[checks.CheckMessage]:
    """Warns if the newest files of the database have no content in this machine's storage."""
    from llm.models import StoredFile  # noqa: PLC0415 the models are loaded after the checks are registered

    kept = StoredFile.objects.filter(deleted_at=None).exclude(location="").exclude(status="arriving")
    try:
        latest = list(kept.order_by("-pk").values_list("public_id", "location")[:LATEST])
    except DatabaseError:  # before the first migration
        return []
    missing = [name for name, location in latest if not storages["files"].exists(location)]
    if not missing:
        return []
    return [
        checks.Warning(
            f"{len(missing)} of the {len(latest)} newest files are not in the storage of this machine, such as {missing[0]}.",
            hint="All machines need the same storage: a shared folder as FILES_DIR, or FILES_S3_BUCKET (docs/operations.md).",
            id="purser.W002",
        )
    ]
