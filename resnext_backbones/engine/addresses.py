"""A host has a name, and an address by which it reaches the others."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from contextlib import suppress

SIOCGIFADDR = 0x8915
"""Linux' number for: which address has an interface."""


def this_host() -> str:
    """Returns the name of this host, with the address by which it reaches that of rank 0."""
    address = own_address()
    return socket.gethostname() + (f" ({address})" if address else "")


def use_interface() -> None:
    """Has Gloo take the network interface that leads to rank 0, where nobody has named one: it
    would take that of the host's name, which often leads to this host alone.
    """
    address = own_address()
    for _, name in socket.if_nameindex() if address else ():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked, suppress(OSError):
            found = fcntl.ioctl(asked, SIOCGIFADDR, struct.pack("256s", name.encode()))
            if socket.inet_ntoa(found[20:24]) == address:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def own_address() -> str:
    """Returns this host's address on the way to rank 0; "" where it is not known."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError, KeyError):
        probe.connect((os.environ["MASTER_ADDR"], 9))  # which sends nothing
        return probe.getsockname()[0]
    return ""
