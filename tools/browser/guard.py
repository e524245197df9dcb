"""What the web back ends may fetch: which addresses, how much, how long.

A model follows links that pages wrote, so a page could lead it to what only this machine can reach: its own
services, the local network, the metadata of a cloud. Only addresses of the public internet are allowed; an
IPv4 address inside an IPv6 one is judged as itself; metadata services are refused whatever else is allowed.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host and a port to addresses. Raises OSError."""

_METADATA = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Azure, Google, and most others
        "169.254.170.2",  # AWS containers
        "168.63.129.16",  # Azure, an address that is otherwise public
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Policy:
    """Limits of a fetch; the defaults are the strict ones.

    `largest` is in bytes, after decompression; `seconds` is for a page with its redirects, `idle_seconds` for
    each wait for the other side. `also` are networks allowed beside the public internet.
    """

    redirects: int = 10
    largest: int = 5 * 2**20
    seconds: float = 30.0
    idle_seconds: float = 10.0
    also: tuple[Network, ...] = ()

    def allows(self, address: Address) -> bool:
        """Whether a connection to this address may be made."""
        if address in _METADATA:
            return False
        if inside := embedded(address):
            return all(map(self.allows, inside))
        return is_public(address) or any(address in network for network in self.also)


def is_public(address: Address) -> bool:
    """Whether an address is one host's on the public internet."""
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def embedded(address: Address) -> list[IPv4Address]:
    """The IPv4 addresses in an IPv6 address: mapped, 6to4, NAT64, Teredo (RFC 4291, 3056, 6052, 4380)."""
    if isinstance(address, IPv4Address):
        return []
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    return [*filter(None, (address.ipv4_mapped, address.sixtofour)), *(address.teredo or ())]


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for *_, address in found]
