"""Protection against SSRF: where we connect to when a tenant chooses the address.

Invariant: the address of the socket is checked before it connects. It does not matter how the host is written (a name,
digits of another script, an address embedded in another one) or what a second DNS look-up returns. The written URL is
checked only to report an error early.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import aiohttp
from yarl import URL

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
# Tunnels and blocks for protocols: an address there leads to another address, or to no server.
_TUNNELS: Final = tuple(
    IPv6Network(network) for network in ("::/96", "64:ff9b:1::/48", "2001::/23", "2002::/16", "fec0::/10")
)
# The addresses of cloud metadata services (credentials), in addition to 169.254.0.0/16.
_METADATA: Final = frozenset(
    ip_address(address)
    for address in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)


class AddressRefused(OSError):
    """We do not connect to this address for a tenant."""


def guarded_connector(*, may_be_private: bool, limit: int) -> aiohttp.TCPConnector:
    """A connector whose sockets connect only to public addresses, and to private ones if the operator allows them."""

    def guarded_socket(address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        check_address(address[0], may_be_private=may_be_private)
        return socket.socket(family=family, type=kind, proto=protocol)

    return aiohttp.TCPConnector(socket_factory=guarded_socket, limit=limit)


def check_url(url: str, *, may_be_private: bool) -> None:
    """Raise AddressRefused for a URL that is not http(s), or whose host is an address that would be refused."""
    try:
        parsed = URL(url)  # as the client reads it: "127。0。0。1" is 127.0.0.1
    except ValueError:
        raise AddressRefused("this is no address") from None
    host = (parsed.host or "").rstrip(".")
    if parsed.scheme not in ("http", "https") or not host:
        raise AddressRefused("an http:// or https:// address is needed")
    if ":" in host or _ends_in_a_number(host):
        check_address(host, may_be_private=may_be_private)


def check_address(written: str, *, may_be_private: bool) -> None:
    """Raise AddressRefused unless the address is public, or private and private ones are allowed.

    Link-local addresses and those that lead to another one are never allowed.
    """
    try:
        address = _destination(ip_address(written.split("%")[0]))
    except ValueError:
        raise AddressRefused(f"{written} is no address as machines write them") from None
    is_private = address.is_private or address.is_loopback
    if _is_special(address) or not (is_private if may_be_private and is_private else _is_public(address)):
        raise AddressRefused(f"{written} is not a public address")


def _destination(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address in a mapped or translated (NAT64) address; other addresses unchanged."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or (IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else address)


def _is_special(address: IPv4Address | IPv6Address) -> bool:
    if address.is_multicast or address.is_link_local or address.is_unspecified or address in _METADATA:
        return True
    if isinstance(address, IPv4Address):
        return address.is_reserved
    return not address.is_loopback and any(address in network for network in _TUNNELS)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and (isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST)


def _ends_in_a_number(host: str) -> bool:
    """Whether some client reads the host as an address: decimal, octal or hexadecimal, whole or in parts."""
    last = host.rpartition(".")[2].lower()
    return last.isdigit() or (
        last.startswith("0x") and all(letter in "0123456789abcdef" for letter in last[2:])
    )
