"""Compressed bodies: answered as if they had come plain, or refused by the encoding's name."""

import gzip
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
import zstandard

from tests.api.conftest import fresh_question, turns
from tests.books import Books
from tests.world import World


def post(world: World, body: bytes, encoding: str, *, key: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(
        f"{world.stack.base_url}/v1/chat/completions",
        data=body,
        headers={
            "x-api-key": key or world.acme.key,
            "content-type": "application/json",
            "content-encoding": encoding,
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(("encoding", "encode"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_it_works(world: World, books: Books, encoding: str, encode: Any) -> None:
    body = {"model": "gpt-4o-mini", "messages": turns(fresh_question() + " x" * 2_000)}
    status, answer = post(world, encode(json.dumps(body).encode()), encoding)
    assert status == 200, answer
    row = books.row(answer["purser"]["request_id"])
    assert row.input_tokens > 2_000


def test_what_cannot_be_decoded_is_named(world: World) -> None:
    status, answer = post(world, b"\x8b\x00", "br")
    assert (status, answer["error"]["code"]) == (415, "unsupported_encoding")
    assert "'br'" in answer["error"]["message"]
    status, answer = post(world, b'{"model": "gpt-4o-mini"}', "zstd")
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    status, answer = post(world, gzip.compress(b" " * (30 * 1024 * 1024)), "gzip")
    assert (status, answer["error"]["code"]) == (413, "request_too_large")


def test_nothing_is_decoded_for_a_stranger(world: World) -> None:
    for body, encoding in ((b"", "br"), (gzip.compress(b" " * 1_000_000), "gzip")):
        status, answer = post(world, body, encoding, key="sk-nobody")
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
