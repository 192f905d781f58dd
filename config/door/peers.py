"""The client's address, with or without proxies.

Invariant: X-Forwarded-For is used only from trusted proxies, and read from the right. The first address that is not a
trusted proxy's is the client's. Everything to the left of it is the client's own claim and ignored.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.core.exceptions import ImproperlyConfigured

Network = IPv4Network | IPv6Network
UNKNOWN = ""


def trusted_networks(written: Iterable[str]) -> tuple[Network, ...]:
    """The networks of the trusted proxies. Raises ImproperlyConfigured for an invalid network."""
    try:
        return tuple(ip_network(network) for network in written)
    except ValueError as error:
        raise ImproperlyConfigured(f"TRUSTED_PROXIES: {error}") from None


def client_address(peer: str, *, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The client's address, or UNKNOWN if a trusted proxy sends an invalid one.

    `forwarded_for` is the value of X-Forwarded-For. Each proxy appends the address that called it.
    """
    if not trusted or not _is_inside(peer, trusted):
        return peer
    address = peer
    for hop in reversed([hop for hop in forwarded_for.split(",") if hop.strip()]):
        address = _bare(hop.strip())
        if not _is_inside(address, trusted):
            return address
    return address


def _bare(hop: str) -> str:
    """The address without brackets and port, which some proxies add."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    address = _parsed(hop)
    return UNKNOWN if address is None else str(address)


def _parsed(written: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(written.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_inside(written: str, networks: Sequence[Network]) -> bool:
    address = _parsed(written)
    return address is not None and any(address in network for network in networks)
