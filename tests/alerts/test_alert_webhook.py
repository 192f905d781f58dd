"""Where a webhook may go, and what its signature proves."""

from ipaddress import ip_address

import pytest

from billing.alert_webhook import AddressNotAllowed, check_address, check_url, sign, verify

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


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fd00::1", "::ffff:127.0.0.1"]
)
def test_private_addresses_need_the_operators_leave(address: str, settings) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    with pytest.raises(AddressNotAllowed):
        check_address(ip_address(address))
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    check_address(ip_address(address))


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"]
)
def test_addresses_that_are_nobodys_server_are_never_allowed(address: str, settings) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    with pytest.raises(AddressNotAllowed):
        check_address(ip_address(address))


def test_public_addresses_are_allowed(settings) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    check_address(ip_address("93.184.216.34"))
    check_url("https://example.com/hook")


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "file:///etc/passwd", "https://", "http://127.0.0.1/", "http://[::1]/"]
)
def test_only_http_to_a_public_host_passes(url: str, settings) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    with pytest.raises(AddressNotAllowed):
        check_url(url)
