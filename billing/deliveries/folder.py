"""Puts files into a folder of this machine, or one that is mounted on it.

Invariant: nothing is written outside of REPORTS_FOLDER, whatever a path or a link in it says. A file appears whole, under its own
name, or not at all; sent again, it replaces itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from django.conf import settings

from billing.deliveries.parcels import Parcel

FOLDER_MODE: Final = 0o750
FILE_MODE: Final = 0o640


class FolderRefused(OSError):
    """The folder is none of those that we write to."""


def put(parcels: Sequence[Parcel], *, folders: Sequence[str]) -> str:
    """Write files below the root, and answer where. Raises OSError."""
    folder = _folder(folders)
    for parcel in parcels:
        _write(folder / parcel.name, parcel)
    return str(folder)


def _folder(folders: Sequence[str]) -> Path:
    if not settings.REPORTS_FOLDER:
        raise FolderRefused("this installation has no REPORTS_FOLDER")
    root = Path(settings.REPORTS_FOLDER).resolve()
    if not root.is_dir():
        raise FolderRefused("REPORTS_FOLDER is no folder")
    folder = root
    for name in folders:
        folder = folder / name
        if not folder.resolve().is_relative_to(root):  # before it is made or entered: a link may lead out
            raise FolderRefused(f"{'/'.join(folders)} leads out of REPORTS_FOLDER")
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return folder


def _write(path: Path, parcel: Parcel) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.unlink(missing_ok=True)
    # O_EXCL and O_NOFOLLOW: nothing that somebody put there is written through
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(handle, "wb") as out:
        for piece in parcel.pieces():
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)
