"""Which hosts are on the loopback interface: what is sent to them does not leave this machine."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_loopback(host: str) -> bool:
    """Return whether a host, given by name or address, is on the loopback interface."""
    address = address_of(host)
    if address is not None:
        return address.is_loopback
    name = host.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def address_of(host: str) -> Address | None:
    """Return the address that a host is written as, or None for a name; IPv4 within IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
