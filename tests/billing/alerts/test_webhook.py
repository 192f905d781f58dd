"""Where a webhook may go, and what its signature proves."""

import time

import pytest
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from billing.alerts.webhook import AddressNotAllowed, Webhook, check_url, headers_of, make_secret, sign
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


def test_the_official_library_takes_what_we_sign_and_nothing_else() -> None:
    secret = make_secret()
    message = Webhook(
        url="https://example.com/", secret=secret, event_id="7-resolved", body='{"text": "ä"}'.encode()
    )
    headers = headers_of(message, at=int(time.time()))
    assert Receiver(secret).verify(message.body, headers) == {"text": "ä"}
    for forged in (
        (make_secret(), message.body, headers),
        (secret, message.body + b" ", headers),
        (secret, message.body, headers | {"webhook-id": "8"}),
        (secret, message.body, headers_of(message, at=int(time.time()) - 400)),
    ):
        with pytest.raises(WebhookVerificationError):
            Receiver(forged[0]).verify(*forged[1:])


def test_only_http_to_a_public_host_passes(settings) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    check_url("https://example.com/hook")
    for url in ("ftp://example.com/", "file:///etc/passwd", "https://", "http://127.0.0.1/", "http://[::1]/"):
        with pytest.raises(AddressNotAllowed):
            check_url(url)
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    check_url("http://127.0.0.1/")
