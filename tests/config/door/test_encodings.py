"""Bodies that their senders compressed: undone within bounds, or refused by name."""

import asyncio
import gzip
import json
import os
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
import zstandard

from config.door.bodies import BodyTooLarge
from config.door.encodings import BadlyEncoded, UnknownEncoding, decoded, encodings_of

LARGEST = 20 * 1024 * 1024
TEXT = json.dumps({"messages": [os.urandom(40).hex() for _ in range(2_000)]}).encode()


def raw_deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return encoder.compress(data) + encoder.flush()


def streamed_zstd(data: bytes) -> bytes:
    encoder = zstandard.ZstdCompressor().compressobj()  # says no size ahead
    return encoder.compress(data) + encoder.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate, bare": raw_deflate,
    "zstd": zstandard.compress,
    "zstd, streamed": streamed_zstd,
}


def undo(body: bytes, encoding: str, *, largest: int = LARGEST) -> bytes:
    encodings = encodings_of(encoding)
    with asyncio.run(decoded(BytesIO(body), encodings, largest=largest)) as plain:
        return plain.read()


@pytest.mark.parametrize("name", ENCODERS)
def test_it_works(name: str) -> None:
    encoding = name.partition(",")[0]
    encode = ENCODERS[name]
    assert undo(encode(TEXT), encoding) == TEXT
    assert undo(encode(b""), encoding) == b""
    half = len(TEXT) // 2
    if "deflate" not in name:  # of the others there may be several, one after the other
        assert undo(encode(TEXT[:half]) + encode(TEXT[half:]), encoding) == TEXT


def test_encodings_are_undone_in_their_order() -> None:
    assert undo(zstandard.compress(gzip.compress(TEXT)), "gzip, zstd") == TEXT
    assert undo(TEXT, "identity") == undo(TEXT, "") == TEXT
    assert undo(gzip.compress(TEXT), " GZIP ,identity") == TEXT


@pytest.mark.parametrize("encoding", ["br", "compress", "snappy", "gzip, br", "gzip, gzip, gzip", "\x00"])
def test_an_unknown_encoding_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(UnknownEncoding, match="encoding"):
        encodings_of(encoding)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_bomb_costs_no_memory(name: str) -> None:
    bomb = ENCODERS[name](b"\0" * (200 * 1024 * 1024))
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        undo(bomb, name.partition(",")[0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 1024 * 1024
    with pytest.raises(BodyTooLarge):
        undo(ENCODERS[name](TEXT), name.partition(",")[0], largest=len(TEXT) - 1)
    with pytest.raises(BodyTooLarge):
        undo(gzip.compress(zstandard.compress(b"\0" * (50 * 1024 * 1024))), "zstd, gzip")


@pytest.mark.parametrize("name", ENCODERS)
def test_a_body_that_is_not_what_it_says(name: str) -> None:
    encoding, whole = name.partition(",")[0], ENCODERS[name](TEXT)
    for broken in (b"{}" * 100, b"\x1f\x8b" + b"\xff" * 50):
        with pytest.raises(BadlyEncoded):
            undo(broken, encoding)
    with pytest.raises(BadlyEncoded):
        undo(whole[: len(whole) // 2], encoding)


def test_a_window_too_large_to_keep_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=27)
    encoder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(BadlyEncoded):
        undo(encoder.compress(TEXT) + encoder.flush(), "zstd")
