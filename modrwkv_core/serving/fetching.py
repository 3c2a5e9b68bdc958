"""Fetching media from the web without being led into the server's own network.

A name is resolved once, every address that it has must be public, and the connection goes to the address that was
checked: a name that resolves to another address a moment later (DNS rebinding) leads nowhere else. Redirects are
followed by the same rules.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from modrwkv_core.errors import DataError

__all__ = ["fetch", "public_address"]

_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = 3
_TRANSLATED: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv6 addresses behind which a translator (NAT64) reaches IPv4 addresses, private ones too."""


def fetch(url: str, max_bytes: int, timeout_s: float) -> bytes:
    """Return what ``url`` holds.

    Args:
        url: ``http`` or ``https``, at the scheme's own port.
        max_bytes: More are refused.
        timeout_s: Seconds after which it is given up, redirects included.

    Raises:
        DataError: The address is malformed or not public, does not answer, or holds too much.
    """
    deadline = time.monotonic() + timeout_s
    for _ in range(_REDIRECTS + 1):
        found = _get(_checked(url), max_bytes, deadline)
        if isinstance(found, bytes):
            return found
        url = _joined(url, found)
    raise DataError(f"the address redirects more than {_REDIRECTS} times", hint="give the final address")


def public_address(host: str, port: int) -> str:
    """Return an IP address of ``host``.

    Raises:
        DataError: It has none, or one of them is not public.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # such as a name with a NUL
        raise DataError(f"{host!r} cannot be resolved", hint="check the address") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not _is_public(address):
            raise DataError(f"{host!r} is not a public address", hint="send the file itself as a data URI")
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or any(address in net for net in _TRANSLATED)
    ):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _joined(base: str, place: str) -> str:
    try:
        return urljoin(base, place)
    except ValueError as error:
        raise DataError("the address redirects to one that is malformed", hint="give the final address") from error


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DataError("the address is malformed", hint="write https://host/path") from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None or parts.password is not None:
        raise DataError("the address is not one of the web", hint="write https://host/path")
    if port not in (None, _PORTS[parts.scheme]):
        raise DataError(f"port {port} is not the web's", hint="give an address without a port")
    return parts


def _get(parts: SplitResult, max_bytes: int, deadline: float) -> bytes | str:
    """Return the content, or the place that a redirect names."""
    assert parts.hostname is not None
    port = _PORTS[parts.scheme]
    left = deadline - time.monotonic()
    if left <= 0:
        raise _late()
    connection = _Pinned(parts.hostname, public_address(parts.hostname, port), port, left)
    # A server that sends a byte now and then never meets the time-out of one read.
    watchdog = threading.Timer(left, connection.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "modrwkv", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        place = response.getheader("Location")
        if response.status in (301, 302, 303, 307, 308) and place:
            return place
        if response.status != 200:
            raise DataError(f"the address answers with status {response.status}", hint="open it in a browser")
        content = response.read(max_bytes + 1)
        if connection.is_aborted:  # what has come by then looks like the whole
            raise _late()
        if len(content) > max_bytes:
            raise DataError(f"the address holds more than {max_bytes:,} bytes", hint="give a smaller file")
        return content
    except DataError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # such as a name that cannot be one of TLS
        raise DataError(f"{parts.hostname!r} does not answer as a web server does", hint="check the address") from error
    finally:
        watchdog.cancel()
        connection.close()


def _late() -> DataError:
    return DataError("the address does not answer in time", hint="send the file itself as a data URI")


class _Pinned(http.client.HTTPConnection):
    """A connection to one checked address, encrypted and verified for the host's name where the port is that of TLS."""

    def __init__(self, host: str, address: str, port: int, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._address = address
        self._socket: socket.socket | None = None
        self.is_aborted = False

    def connect(self) -> None:
        """Connect to the address, whatever the name resolves to by now."""
        self._socket = self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self.port == _PORTS["https"]:
            self._socket = self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

    def abort(self) -> None:
        """End whatever waits for the other side."""
        self.is_aborted = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
