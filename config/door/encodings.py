"""Decompresses the body of a request.

Invariant: the result is never larger than the largest allowed body, nor than a fixed multiple of the input. The work is
never done on the event loop. An unknown encoding is refused before the body is read.
"""

import asyncio
import tempfile
import zlib
from collections.abc import Iterator
from typing import IO, Final

import zstandard
from django.conf import settings

from config.door.bodies import BodyTooLarge

PLAIN: Final = ("", "identity")
MOST_ENCODINGS: Final = 2
PIECE_BYTES: Final = 64 * 1024
ZSTD_STEP_BYTES: Final = 256  # of which each four may say 128 KB
LARGEST_WINDOW_BYTES: Final = 8 * 1024 * 1024  # as RFC 8878 has it: what a decoder has to keep in memory
MOST_TIMES_LARGER: Final = 200
SMALL_BYTES: Final = 1024 * 1024  # up to which it may be larger by any factor


class UnknownEncoding(Exception):
    """A content encoding that we do not support."""


class BadlyEncoded(Exception):
    """The body is not what its encoding says."""


def encodings_of(header: str) -> tuple[str, ...]:
    """The encodings in a `content-encoding` header, in the order to decode them. Raises UnknownEncoding."""
    named = [name.strip().lower() for name in header.split(",")]
    encodings = tuple(name for name in reversed(named) if name not in PLAIN)
    for name in encodings:
        if name not in _DECODERS:
            raise UnknownEncoding(
                f"The content encoding '{name[:40]}' is not decoded here: send gzip, deflate, zstd or none."
            )
    if len(encodings) > MOST_ENCODINGS:
        raise UnknownEncoding(f"At most {MOST_ENCODINGS} content encodings are undone.")
    return encodings


async def decoded(body: IO[bytes], encodings: tuple[str, ...], *, largest: int) -> IO[bytes]:
    """The decoded body; the same file if it is not encoded. Raises BodyTooLarge, BadlyEncoded."""
    for name in encodings:
        body = await asyncio.to_thread(_decode, body, name, largest)
    return body


def _decode(body: IO[bytes], name: str, largest: int) -> IO[bytes]:
    file = tempfile.SpooledTemporaryFile(  # noqa: SIM115
        max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, mode="w+b", dir=settings.FILE_UPLOAD_TEMP_DIR
    )
    size = 0
    try:
        with body:
            for piece in _DECODERS[name](body):
                size += len(piece)
                if size > largest or size > max(SMALL_BYTES, MOST_TIMES_LARGER * body.tell()):
                    raise BodyTooLarge(largest)
                file.write(piece)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        file.close()
        raise BadlyEncoded(f"The body is no valid {name}: {error}.") from None
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _inflated(body: IO[bytes], window_bits: int) -> Iterator[bytes]:
    decoder = zlib.decompressobj(window_bits)
    while given := body.read(PIECE_BYTES):
        while True:
            if decoder.eof:  # another member may follow, or padding
                if not given.strip(b"\0"):
                    break
                decoder = zlib.decompressobj(window_bits)
            piece = decoder.decompress(given, PIECE_BYTES)
            yield piece
            given = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            if not given and len(piece) < PIECE_BYTES:
                break
    if not decoder.eof:
        raise EOFError("it ends too early")


def _gzip(body: IO[bytes]) -> Iterator[bytes]:
    return _inflated(body, 16 + zlib.MAX_WBITS)


def _deflate(body: IO[bytes]) -> Iterator[bytes]:
    """The zlib format of the standard, or the raw format that many clients send."""
    head = body.read(2)
    body.seek(0)
    has_header = len(head) == 2 and head[0] & 0x0F == 8 and int.from_bytes(head) % 31 == 0
    return _inflated(body, zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _zstd(body: IO[bytes]) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW_BYTES)
    decoder = decompressor.decompressobj()
    while given := body.read(ZSTD_STEP_BYTES):
        while given:
            if decoder.eof:  # another frame follows
                decoder = decompressor.decompressobj()
            yield decoder.decompress(given)
            given = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise EOFError("it ends too early")


_DECODERS: Final = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "zstd": _zstd}
