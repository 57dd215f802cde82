"""Host name → addresses that may be connected to: public ones, or any where the host is allowed by name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence

from imageref_ray.core.images import Problem

Resolve = Callable[[str, int], Sequence[str]]
"""Host and port → numeric addresses; raises OSError for an unknown host."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

NAT64 = ipaddress.ip_network("64:ff9b::/96")
COMPATIBLE = ipaddress.ip_network("::/96")
PROTOCOLS = ipaddress.ip_network("192.0.0.0/24")


def resolve(host: str, port: int) -> list[str]:
    """The system resolver's addresses (it sets its own time limit)."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(text: str) -> bool:
    """Whether an address is a public host's: not private, loopback, link-local, multicast, reserved or unspecified.

    An IPv4 address inside an IPv6 one (mapped, compatible, 6to4, Teredo, NAT64) is judged as well.
    """
    address = ipaddress.ip_address(text)
    inner = _inside(address)
    if any(not is_public(str(one)) for one in inner):
        return False
    if address in NAT64 or getattr(address, "ipv4_mapped", None):
        return True  # what they lead to was judged
    barred = (
        address.is_multicast,
        address.is_reserved,
        address.is_loopback,
        address.is_link_local,
        address.is_private,
        address.is_unspecified,
        getattr(address, "is_site_local", False),
        address in PROTOCOLS,
    )
    return address.is_global and not any(barred)


def checked(host: str, port: int, allowed: Collection[str], resolve: Resolve = resolve) -> list[str] | Problem:
    """The addresses of `host` to connect to (at least one), in the resolver's order.

    One that is not public bars them all.
    """
    try:
        found = list(resolve(host, port))
    except (OSError, UnicodeError, OverflowError) as error:
        again = 1.0 if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN else None
        return Problem("UnknownHost", f"host {host} is not known: {error}", again)
    if not found:
        return Problem("UnknownHost", f"host {host} has no address")
    if host.lower().rstrip(".") in {name.lower().rstrip(".") for name in allowed}:
        return found
    barred = [address for address in found if not is_public(address)]
    if barred:
        why = f"host {host} has the address {barred[0]}, which is not public"
        return Problem("ForbiddenAddress", f"{why}; add the host to source.fetch.allow_hosts if it may be asked")
    return found


def _inside(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address carries."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or address in COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]
