"""What somebody else has us connect to: a listener on loopback hears nothing, however its address is written."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Thread

import aiohttp
import pytest

from config.egress import AddressRefused, check_address, check_url, guarded_connector


@dataclass
class Listener:
    """A socket on loopback that answers whoever connects, and counts them."""

    port: int
    heard: list[bytes] = field(default_factory=list)


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        found = Listener(server.getsockname()[1])

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(2)
                    found.heard.append(connection.recv(1000))
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")

        Thread(target=serve, daemon=True).start()
        yield found
        server.shutdown(socket.SHUT_RDWR)


async def get(url: str, *, may_be_private: bool = False) -> int:
    connector = guarded_connector(may_be_private=may_be_private, limit=5)
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.get(url) as response,
    ):
        return response.status


SPELLINGS = (
    "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0177.1",
    "017700000001", "127.0.0.1%00", "localhost", "LOCALHOST.", "localhost.localdomain", "[::1]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "①②⑦.⓪.⓪.①", "１２７.０.０.１", "①②⑦。⓪。⓪。①", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "ｌｏｃａｌｈｏｓｔ",
    "0", "0.0.0.0", "[::]", "127.127.127.127", "2130706433。", "⓪ⓧ⑦ⓕ.①",
)  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_reaches_loopback(host: str, listener: Listener) -> None:
    before = len(listener.heard)
    with pytest.raises((aiohttp.ClientError, OSError, ValueError)):
        asyncio.run(get(f"http://{host}:{listener.port}/"))
    assert len(listener.heard) == before


def test_it_works(listener: Listener) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "127。0。0。1"):
        assert asyncio.run(get(f"http://{host}:{listener.port}/", may_be_private=True)) == 200


def test_what_a_name_resolves_to_is_looked_at_when_it_is_connected_to(listener: Listener) -> None:
    """A name passes the form; the address that it has by then does not."""
    check_url("http://localhost/", may_be_private=False)
    with pytest.raises(aiohttp.ClientConnectorError) as refused:
        asyncio.run(get(f"http://localhost:{listener.port}/"))
    assert "not a public address" in str(refused.value.__cause__)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "file:///etc/passwd", "https://", "http:///x", "//example.com", "", "http://[::1/",
        "javascript:alert(1)", "http://127.0.0.1/", "http://127。0。0。1/", "http://①②⑦.⓪.⓪.①/", "http://2130706433/",
        "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://[::1]/", "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/", "http://user:pass@10.0.0.1/", "http://169。254。169。254/latest/", "http://10.0.0.1./",
    ],
)  # fmt: skip
def test_what_plainly_names_another_address_is_refused_in_a_form(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, may_be_private=False)


def test_ordinary_addresses_are_taken() -> None:
    for url in (
        "https://example.com/hook?x=1", "http://93.184.216.34:8080/", "https://[2606:4700::1111]/", "https://bücher.example/",
        "https://3com.example/", "https://hooks.example.com./T0/B1", "https://x.0xyz.example/", "http://[64:ff9b::808:808]/",
    ):  # fmt: skip
        check_url(url, may_be_private=False)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fd00::1", "::ffff:10.0.0.1"]
)
def test_private_addresses_need_the_operators_leave(address: str) -> None:
    with pytest.raises(AddressRefused):
        check_address(address, may_be_private=False)
    check_address(address, may_be_private=True)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "fe80::1", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "::ffff:169.254.169.254",
        "240.0.0.1", "255.255.255.255", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:a9fe:a9fe::1", "2001:0:1::1", "2001:10::1", "fec0::1", "::10.0.0.1",
        "::8.8.8.8", "5f00::1", "4000::1", "not an address",
    ],
)  # fmt: skip
def test_addresses_that_are_nobodys_server_are_never_allowed(address: str) -> None:
    for may_be_private in (False, True):
        with pytest.raises(AddressRefused):
            check_address(address, may_be_private=may_be_private)
