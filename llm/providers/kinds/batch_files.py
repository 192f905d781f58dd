"""The lines of a job on their way to a provider, and its results on their way back: in temporary files.

Invariant: memory is bounded whatever the size of a job, and so is what a server may send.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Final

from llm.providers.kinds.batch_api import TooLargeError, UpstreamError

MOST_RESULT_BYTES: Final = 4 * 1024**3
LONGEST_RESULT: Final = 64 * 1024**2


@contextmanager
def written(parts: Iterable[bytes], *, most_bytes: int) -> Iterator[IO[bytes]]:
    """A file of these parts, to be read from its beginning. Raises TooLargeError."""
    with tempfile.TemporaryFile() as file:
        size = 0
        for part in parts:
            size += len(part)
            if size > most_bytes:
                raise TooLargeError(f"more than {most_bytes} bytes")
            file.write(part)
        file.seek(0)
        yield file


@contextmanager
def downloaded(chunks: Iterable[bytes]) -> Iterator[IO[bytes]]:
    """A file of what a server sends. Raises UpstreamError where that has no end."""
    try:
        with written(chunks, most_bytes=MOST_RESULT_BYTES) as file:
            yield file
    except TooLargeError as error:
        raise UpstreamError(f"The results have {error}.") from None


def rows_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; one that is too long to be read comes as a part of it."""
    while row := file.readline(LONGEST_RESULT):
        yield row
        while row and not row.endswith(b"\n"):
            row = file.readline(LONGEST_RESULT)
