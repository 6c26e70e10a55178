"""What a source may reach by HTTP: nothing on this machine or in a private network, unless it was asked for.

Whoever writes a list of addresses must not reach what only the cluster can: a cloud's metadata service hands
out credentials. The address of each connection is checked after its name is resolved, also of a redirect.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import ClientSession

_METADATA = {IPv4Address("168.63.129.16")}
"""Services of clouds at addresses that are none of a private network: Azure's."""
_NAT64 = IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """A connection would reach this machine or a private network."""

    def __init__(self) -> None:
        super().__init__(
            "it leads to this machine or into a private network: check the address, or allow all such "
            "addresses with --set private_addresses=true"
        )


def is_private(address: str) -> bool:
    """Whether an IP address, as text, is of this machine, a private network or a cloud's own services."""
    where = ip_address(address)
    if isinstance(where, IPv6Address) and (within := _embedded(where)) is not None:
        where = within
    return not where.is_global or where.is_multicast or where in _METADATA


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, or None."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


async def public_client(**options: Any) -> ClientSession:
    """A client for fsspec. A connection that would reach a private address raises PrivateAddressError."""
    from aiohttp import ClientSession, TCPConnector

    return ClientSession(connector=TCPConnector(socket_factory=_public_socket), **options)


def _public_socket(place: tuple[Any, ...]) -> socket.socket:
    """A socket for an address as `socket.getaddrinfo` gives it."""
    family, kind, protocol, _, address = place
    if is_private(address[0]):
        raise PrivateAddressError
    return socket.socket(family, kind, protocol)


def refusal_in(error: BaseException | None) -> PrivateAddressError | None:
    """The refusal that an error of a client comes from, or None."""
    while error is not None and not isinstance(error, PrivateAddressError):
        error = error.__cause__
    return error
