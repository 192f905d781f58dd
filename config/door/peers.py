"""Whose address a call comes from, behind proxies or without.

Invariant: only what a trusted proxy says is believed, read from the right: the first address that is no trusted
proxy's is the caller's, and whatever stands left of it is the caller's own claim.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.core.exceptions import ImproperlyConfigured

Network = IPv4Network | IPv6Network
UNKNOWN = ""


def trusted_networks(written: Iterable[str]) -> tuple[Network, ...]:
    """The networks of the proxies that stand in front; raises ImproperlyConfigured for what is none."""
    try:
        return tuple(ip_network(network) for network in written)
    except ValueError as error:
        raise ImproperlyConfigured(f"TRUSTED_PROXIES: {error}") from None


def client_address(peer: str, *, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The caller's address, or UNKNOWN where a trusted proxy says something that is none.

    `forwarded_for` is the value of X-Forwarded-For, which each proxy adds the address it was called from to.
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
    """Without brackets and port, which some proxies write."""
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
