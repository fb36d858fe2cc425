"""Whether the hub can be reached at all, and whether a name has to be asked for there."""

from __future__ import annotations

import functools
import os
import socket
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, urlopen

TIMEOUT_S = 5.0


@functools.cache
def hub_answers(endpoint: str) -> bool:
    """Whether the hub answers: when not, its client would only retry for minutes. Asked once in a process.

    Without a proxy an unknown name ends it at once; any answer will do, an error of HTTP too.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    try:
        if not getproxies():
            socket.getaddrinfo(urlsplit(endpoint).hostname, None)
        urlopen(Request(endpoint, method="HEAD"), timeout=TIMEOUT_S).close()
    except HTTPError:
        return True
    except (OSError, HTTPException, ValueError):  # the last: no address at all
        return False
    return True


def only_local(name: str) -> bool:
    """Whether a model is to be looked for on this machine only: it is a folder, or the hub cannot be reached."""
    from huggingface_hub.constants import ENDPOINT

    return Path(name).is_dir() or not hub_answers(ENDPOINT)
