"""Where the contents of tenants' files are: a folder, or a bucket of S3 or of a server that speaks like it.

Invariant: nobody but the product may read what is there, and nothing is held in memory on its way. Machines that share a
database share this storage, too.
"""

import os
from pathlib import Path
from typing import Any

from config import environment as env

MEMORY_BYTES = 1024 * 1024  # of an object that is read; the rest is on disk


def storage_of(home: Path) -> dict[str, Any]:
    """The entry of STORAGES: the bucket that FILES_S3_BUCKET names, else the folder FILES_DIR."""
    if bucket := env.text("FILES_S3_BUCKET"):
        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": bucket,
                "location": env.text("FILES_S3_PREFIX"),
                "endpoint_url": env.text("FILES_S3_ENDPOINT_URL") or None,
                "region_name": env.text("FILES_S3_REGION") or None,
                # without them boto3 looks where it always does: the machine's role, ~/.aws
                "access_key": env.text("FILES_S3_ACCESS_KEY") or None,
                "secret_key": env.text("FILES_S3_SECRET_KEY") or None,
                "default_acl": None,
                "querystring_auth": True,
                "max_memory_size": MEMORY_BYTES,
            },
        }
    return {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": env.text("FILES_DIR", str(home / "files")),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    }


def spool_of(home: Path) -> str | None:
    """The folder for files that are still arriving; None, the system's own, where it cannot be made."""
    folder = home / "spool"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder)


def unusable(storage: Any) -> str:
    """Why contents cannot be kept there, in words; empty where they can. Raises what the storage raises."""
    folder = getattr(storage, "base_location", None)
    if folder is None:
        storage.exists("readiness")
        return ""
    nearest = next(path for path in (Path(folder), *Path(folder).parents) if path.exists())
    return "" if os.access(nearest, os.W_OK | os.X_OK) else f"{folder} cannot be written: see FILES_DIR"
