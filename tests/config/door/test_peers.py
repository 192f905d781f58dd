"""Whose address counts: the peer's, or what trusted proxies say, read from the right."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.door.peers import client_address, trusted_networks

TRUSTED = trusted_networks(["10.0.0.0/8", "fd00::/8", "127.0.0.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7"),  # the caller's own claim stands left
        ("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.2.2.2", "203.0.113.7"),
        ("10.0.0.1", "10.9.9.9, 10.2.2.2", "10.9.9.9"),  # a caller within
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ,", "10.0.0.1"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("10.0.0.1", "203.0.113.7:5555", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "1.1.1.1, unknown", ""),  # nobody's claim is read beyond what is no address
        ("10.0.0.1", "1.1.1.1, ::::", ""),
        ("203.0.113.9", "10.0.0.5", "203.0.113.9"),  # no proxy of ours
        ("", "10.0.0.5", ""),
    ],
)
def test_it_works(peer: str, forwarded_for: str, address: str) -> None:
    assert client_address(peer, forwarded_for=forwarded_for, trusted=TRUSTED) == address


def test_nothing_is_believed_unless_a_proxy_is_trusted() -> None:
    assert client_address("10.0.0.1", forwarded_for="203.0.113.7", trusted=()) == "10.0.0.1"


def test_what_is_no_network_stops_the_start() -> None:
    with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES"):
        trusted_networks(["10.0.0.0/8", "my-proxy"])
