"""Where a webhook may go, and what its signature proves."""

import pytest

from billing.alerts.webhook import AddressNotAllowed, check_url, sign
from tests.billing.alerts.receiving import verify

BODY = b'{"id": "1"}'


def test_it_works() -> None:
    header = sign(BODY, secret="s3cret", at=1_700_000_000)
    assert header.startswith("t=1700000000,v1=")
    assert verify(header, BODY, secret="s3cret", now=1_700_000_010)


@pytest.mark.parametrize(
    ("header", "body", "secret", "now"),
    [
        (sign(BODY, secret="s3cret", at=1_700_000_000), b'{"id": "2"}', "s3cret", 1_700_000_010),
        (sign(BODY, secret="s3cret", at=1_700_000_000), BODY, "other", 1_700_000_010),
        (sign(BODY, secret="s3cret", at=1_700_000_000), BODY, "s3cret", 1_700_000_301),
        ("t=,v1=", BODY, "s3cret", 1_700_000_000),
        ("", BODY, "s3cret", 1_700_000_000),
    ],
    ids=["another body", "another secret", "too old", "empty parts", "no header"],
)
def test_a_signature_proves_body_secret_and_time(header: str, body: bytes, secret: str, now: int) -> None:
    assert not verify(header, body, secret=secret, now=now)


def test_only_http_to_a_public_host_passes(settings) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    check_url("https://example.com/hook")
    for url in ("ftp://example.com/", "file:///etc/passwd", "https://", "http://127.0.0.1/", "http://[::1]/"):
        with pytest.raises(AddressNotAllowed):
            check_url(url)
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    check_url("http://127.0.0.1/")
