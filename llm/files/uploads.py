"""Uploads: a file that arrives in a form is parsed, bounded, checked and kept while nothing of it is held in memory.

Invariant: whatever ends an upload - its client, a limit, a kill - leaves no content without a row, and no row that a client
sees; what a killed one has left is swept. Nothing long is done on the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, Final, Protocol

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from config import resources
from llm.errors import InvalidRequest, RequestTooLarge
from llm.files.stored import MAX_FILE_BYTES, PURPOSES, Place
from tenants import contents

WRITE_BYTES: Final = 256 * 1024  # gathered before they are written
MOST_PARTS: Final = 16
MOST_FIELD_BYTES: Final = 8 * 1024
LONGEST_BOUNDARY: Final = 256

CHECK_SECONDS: Final = 0.2  # of a check at a time: then it may be another one's turn

_checker = ThreadPoolExecutor(1, "checks")


class Check(Protocol):
    """Reads a file once, and says what it is."""

    def advance(self, *, seconds: float) -> bool:
        """Read on for about so long; whether all is read."""
        ...

    def report(self) -> dict[str, Any]:
        """What is kept of the file, as `stored.file_object` shows it."""
        ...

    def listed_problems(self) -> list[dict[str, Any]]:
        """What is wrong with it: none, and it is processed."""
        ...


@dataclass(slots=True)
class Arrived:
    """A form that has come: its file, and the fields beside it."""

    content: IO[bytes]
    size: int = 0
    has_file: bool = False
    fields: dict[str, bytes] = field(default_factory=dict)

    @property
    def purpose(self) -> str:
        """What the file is for. Raises InvalidRequest."""
        purpose = self.fields.get("purpose", b"").decode(errors="replace")
        if purpose not in PURPOSES:
            raise InvalidRequest(f"'purpose' must be one of {', '.join(PURPOSES)}.", param="purpose")
        return purpose


async def upload(
    pieces: AsyncIterator[bytes],
    *,
    content_type: str,
    place: Place,
    check_of: Callable[[Iterator[bytes]], Check],
) -> dict[str, Any]:
    """Keep the file of a form, and return its object. Raises InvalidRequest naming the part that is wrong, RequestTooLarge,
    QuotaExceeded."""
    with contents.spool() as content:
        form = Arrived(content)
        try:
            await _read(pieces, form, boundary=_boundary(content_type), place=place)
            purpose = form.purpose
            if not form.has_file:
                raise InvalidRequest("A multipart form with a 'file' is needed.", param="file")
            check = check_of(_pieces(content)) if purpose == "batch" else None
            if check is not None:
                while not await step(check):
                    pass
            return await store(content, size=form.size, purpose=purpose, place=place, check=check)
        except BaseException:
            give_up(place)
            raise


async def step(check: Check) -> bool:
    """Take a check a step on; whether it is over. One thread does all of them, in turns."""
    advance = partial(check.advance, seconds=CHECK_SECONDS)
    return await asyncio.get_running_loop().run_in_executor(_checker, advance)


async def store(
    content: IO[bytes], *, size: int, purpose: str, place: Place, check: Check | None
) -> dict[str, Any]:
    """Put a file that has come, and was checked, into the storage, and return its object."""
    await place.cover(size)
    place.saving = asyncio.ensure_future(
        contents.in_thread(lambda: contents.save(place.tenant_id, place.location, content))
    )
    await asyncio.shield(place.saving)
    return await place.keep(
        purpose=purpose,
        size=size,
        report=check.report() if check else None,
        problems=check.listed_problems() if check else [],
    )


def give_up(place: Place) -> None:
    """Give back the place of a file that will not be kept; nobody waits for it."""
    if place.bytes >= 0:
        resources.background(place.abandon())


async def _read(pieces: AsyncIterator[bytes], form: Arrived, *, boundary: str, place: Place) -> None:
    """Parse a form while it arrives. Raises InvalidRequest as soon as something is wrong."""
    try:
        parser = PushMultipartParser(boundary, max_segment_count=MOST_PARTS)
        part: MultipartSegment | None = None
        waiting: list[bytes] = []
        async for piece in pieces:
            for event in parser.parse(piece) if piece else ():
                if isinstance(event, MultipartSegment):
                    part = event
                    if _is_file(part):
                        await _begin(form, part, place=place)
                elif event is None or part is None:
                    part = None
                elif _is_file(part):
                    form.size += len(event)
                    waiting.append(bytes(event))
                    if sum(map(len, waiting)) >= WRITE_BYTES or form.size > MAX_FILE_BYTES:
                        await _write(form, waiting, place=place)
                else:
                    _take(form, part, bytes(event))
        parser.close()
        await _write(form, waiting, place=place)
    except MultipartError as error:
        raise InvalidRequest(f"The form cannot be read: {error}.") from None


async def _begin(form: Arrived, part: MultipartSegment, *, place: Place) -> None:
    if form.has_file:
        raise InvalidRequest("The form has more than one 'file'.", param="file")
    if "purpose" in form.fields:
        _ = form.purpose  # refused before the file comes
    form.has_file = True
    await place.cover(0, filename=_plain(part.filename or ""))


async def _write(form: Arrived, waiting: list[bytes], *, place: Place) -> None:
    if form.size > MAX_FILE_BYTES:
        raise RequestTooLarge(f"The file is larger than {MAX_FILE_BYTES} bytes.", param="file")
    await place.cover(form.size)
    written = b"".join(waiting)
    waiting.clear()
    await contents.in_thread(lambda: form.content.write(written))


def _take(form: Arrived, part: MultipartSegment, text: bytes) -> None:
    """A piece of a plain field."""
    name = part.name or ""
    form.fields[name] = form.fields.get(name, b"") + text
    if len(form.fields[name]) > MOST_FIELD_BYTES:
        raise InvalidRequest("A field of the form is too long.", param=name[:64])


def _is_file(part: MultipartSegment) -> bool:
    return part.name == "file" and part.filename is not None


def _plain(filename: str) -> str:
    """The name without its folders, and without what cannot be printed."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable())


def _boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type[:1024])
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= LONGEST_BOUNDARY:
        raise InvalidRequest("A multipart form with a 'file' is needed.", param="file")
    return str(boundary)


def _pieces(content: IO[bytes]) -> Iterator[bytes]:
    content.seek(0)
    while piece := content.read(contents.PIECE_BYTES):
        yield piece
