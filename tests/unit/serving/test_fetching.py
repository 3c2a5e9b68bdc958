"""The server is not led into its own network."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.serving import fetching
from modrwkv_core.serving.fetching import fetch, public_address

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make every name resolve to these addresses, the next one at each look-up."""

    def resolve(*addresses: list[str]) -> None:
        answers = list(addresses)

        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            found = answers.pop(0) if len(answers) > 1 else answers[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(fetching.socket, "getaddrinfo", getaddrinfo)

    return resolve


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str, names: Callable[..., None]) -> None:
    names([address])
    with pytest.raises(DataError, match="not a public address"):
        public_address("example.org", 443)


def test_one_private_address_among_public_ones_is_enough(names: Callable[..., None]) -> None:
    names(["93.184.216.34", "10.0.0.1"])
    with pytest.raises(DataError, match="not a public address"):
        public_address("example.org", 443)


@given(st.ip_addresses(v=4))
def test_only_global_addresses_are_public(address: ipaddress.IPv4Address) -> None:
    text = str(address)
    try:
        assert public_address(text, 80) == text
    except DataError:
        assert not address.is_global or address.is_multicast or address.is_reserved
    else:
        assert not any((address.is_private, address.is_loopback, address.is_link_local, address.is_multicast))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.org/x",
        "gopher://example.org",
        "http://user:secret@example.org/",
        "http://example.org:22/",
        "https://example.org:80/",
        "http://[::1",
        "http://exam\0ple.org/",
        "http://.example.org/",
        "http:///x",
        "//example.org",
        "",
    ],
)
def test_addresses_that_are_not_of_the_web_are_refused(url: str) -> None:
    with pytest.raises(DataError):
        fetch(url, 100, 1)


@contextmanager
def web(handle: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            handle(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let connections to a public address reach a port of this machine."""

    def lead(port: int) -> None:
        def create_connection(address: tuple[str, int], timeout: Any = None) -> socket.socket:
            assert address[0] == "93.184.216.34", "the connection goes to the address that was checked"
            connected = socket.socket()
            connected.settimeout(timeout)
            connected.connect(("127.0.0.1", port))
            return connected

        monkeypatch.setattr(fetching.socket, "create_connection", create_connection)

    return lead


def respond(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return handle


def test_a_public_address_is_read(names: Callable[..., None], local: Callable[[int], None]) -> None:
    names(["93.184.216.34"])
    with web(respond(200, b"picture")) as port:
        local(port)
        assert fetch("http://example.org/a?b=c", 100, 10) == b"picture"


def test_a_name_is_resolved_once(names: Callable[..., None], local: Callable[[int], None]) -> None:
    names(["93.184.216.34"], ["127.0.0.1"])  # what DNS rebinding does
    with web(respond(200, b"picture")) as port:
        local(port)
        assert fetch("http://example.org/", 100, 10) == b"picture"


def test_redirects_into_the_network_are_refused(names: Callable[..., None], local: Callable[[int], None]) -> None:
    names(["93.184.216.34"], ["169.254.169.254"])
    with web(respond(302, b"", Location="http://metadata.internal/")) as port:
        local(port)
        with pytest.raises(DataError, match="not a public address"):
            fetch("http://example.org/", 100, 10)


@pytest.mark.parametrize("place", ["file:///etc/passwd", "http://example.org:6379/", "//["])
def test_redirects_out_of_the_web_are_refused(
    place: str, names: Callable[..., None], local: Callable[[int], None]
) -> None:
    names(["93.184.216.34"])
    with web(respond(302, b"", Location=place)) as port:
        local(port)
        with pytest.raises(DataError):
            fetch("http://example.org/", 100, 10)


def test_redirects_end(names: Callable[..., None], local: Callable[[int], None]) -> None:
    names(["93.184.216.34"])
    with web(respond(302, b"", Location="/again")) as port:
        local(port)
        with pytest.raises(DataError, match="redirects more than"):
            fetch("http://example.org/", 100, 10)


def test_much_is_refused(names: Callable[..., None], local: Callable[[int], None]) -> None:
    names(["93.184.216.34"])
    with web(respond(200, b"x" * 101)) as port:
        local(port)
        with pytest.raises(DataError, match="more than 100 bytes"):
            fetch("http://example.org/", 100, 10)


def test_a_server_that_drips_is_given_up(names: Callable[..., None], local: Callable[[int], None]) -> None:
    done = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not done.wait(0.05):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    names(["93.184.216.34"])
    with web(drip) as port:
        local(port)
        try:
            with pytest.raises(DataError, match="in time"):
                fetch("http://example.org/", 10_000_000, 0.5)
        finally:
            done.set()
