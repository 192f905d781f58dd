"""What a view reads of a request."""

from io import BytesIO
from typing import Any

import pytest

from config.door.requests import GatewayRequest

FORM = (
    b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--x--\r\n'
)


def request(*headers: tuple[bytes, bytes], **scope: Any) -> GatewayRequest:
    usual = {"path": "/v1/x", "method": "post", "client": ("10.0.0.1", 5), "server": None}
    return GatewayRequest(usual | {"headers": headers} | scope)


def test_it_works() -> None:
    asked = request((b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"caf\xe9"), query_string=b"limit=5")
    asked.take(BytesIO(b"{}"), is_decoded=False)
    assert (asked.method, asked.path, asked.GET["limit"], asked.body) == ("POST", "/v1/x", "5", b"{}")
    assert asked.headers == {"x-a": "1,2", "x-b": "café"}
    assert asked.META["REMOTE_ADDR"] == "10.0.0.1"


def test_a_form_is_read_by_its_length_after_decoding() -> None:
    asked = request((b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"7"))
    asked.take(BytesIO(FORM), is_decoded=True)
    upload = asked.FILES["file"]
    assert (asked.POST["purpose"], upload.name, upload.read()) == ("batch", "a.jsonl", b"{}")
    assert asked.headers["content-length"] == str(len(FORM))


def test_a_query_that_is_no_text_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        request(query_string=b"\xff")
