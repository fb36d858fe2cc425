"""Whether the hub can be reached at all."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def hub_resolves(endpoint: str) -> bool:
    """Whether the hub's name resolves: when not, asking it would only be retried for 20 s."""
    if getproxies():
        return True  # a proxy resolves names for us
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, None)
    except OSError:
        return False
    return True
