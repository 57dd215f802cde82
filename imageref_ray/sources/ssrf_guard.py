"""Host name → IP addresses to connect to: public ones, or any if the host is allowed by name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence

from imageref_ray.core.images import Problem

Resolve = Callable[[str, int], Sequence[str]]
"""Host and port → IP addresses; raises OSError for an unknown host."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.ip_network("64:ff9b::/96")
COMPATIBLE = ipaddress.ip_network("::/96")
PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")


def resolve(host: str, port: int) -> list[str]:
    """The system resolver's addresses (it sets its own time limit)."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


def is_public(text: str) -> bool:
    """Whether an address is a public host's: not private, loopback, link-local, multicast, reserved or unspecified.

    An IPv4 address inside an IPv6 one (mapped, compatible, 6to4, Teredo, NAT64) is checked as well.
    """
    address = ipaddress.ip_address(text)
    if any(not is_public(str(inner)) for inner in _embedded_ipv4(address)):
        return False
    if address in NAT64 or getattr(address, "ipv4_mapped", None):
        return True  # the IPv4 address inside was checked
    reasons = (
        address.is_multicast,
        address.is_reserved,
        address.is_loopback,
        address.is_link_local,
        address.is_private,
        address.is_unspecified,
        getattr(address, "is_site_local", False),
        address in PROTOCOLS,
    )
    return address.is_global and not any(reasons)


def allowed_addresses(
    host: str, port: int, allow_hosts: Collection[str], resolve: Resolve = resolve
) -> list[str] | Problem:
    """The IP addresses of `host` to connect to (at least one), in the resolver's order.

    If one of them is not public, none is allowed.
    """
    try:
        addresses = list(resolve(host, port))
    except (OSError, UnicodeError, OverflowError) as error:
        retry_s = 1.0 if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN else None
        return Problem("UnknownHost", f"host {host} is unknown: {error}", retry_s)
    if not addresses:
        return Problem("UnknownHost", f"host {host} has no address")
    if host.lower().rstrip(".") in {name.lower().rstrip(".") for name in allow_hosts}:
        return addresses
    private = [address for address in addresses if not is_public(address)]
    if private:
        why = f"host {host} has the address {private[0]}, which is not public"
        return Problem("ForbiddenAddress", f"{why}; add the host to fetch.allow_hosts to allow it")
    return addresses


def _embedded_ipv4(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses inside an IPv6 address."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    candidates = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or address in COMPATIBLE:
        candidates.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [candidate for candidate in candidates if candidate is not None]
