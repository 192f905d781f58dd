"""The lean door, on the real server: answers, failures, hang-ups, the lifespan, and threads."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.running import web
from config.running.embedded import free_port
from tests.books import eventually
from tests.stack import Stack, answers

PATIENCE_SECONDS = 20


class Door:
    """A client of the served door."""

    def __init__(self, port: int) -> None:
        self.port = port

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def open(self, path: str) -> socket.socket:
        """A request sent whole, and its connection left open."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return connection

    def told(self) -> dict[str, Any]:
        return dict(json.loads(self.request("GET", "/v1/events")[1]))

    def wait_for(self, event: str) -> None:
        eventually(lambda: event in self.told()["events"])


@contextmanager
def serve(home: Path, database_url: str, *, diary: Path) -> Iterator[Door]:
    port = free_port()
    static_root = home / "static"
    static_root.mkdir(exist_ok=True)
    command = web.granian(host="127.0.0.1", port=port, workers=1, static_root=static_root, drain_seconds=2)
    running = Stack(home, {"DATABASE_URL": database_url, "DOOR_DIARY": str(diary)})
    try:
        running.start(
            "door",
            *(*command[1:-1], "tests.config.door.door:application"),
            ready=lambda: answers(f"http://127.0.0.1:{port}/v1/events"),
        )
        yield Door(port)
    finally:
        running.stop()


@pytest.fixture(scope="module")
def door(home: Path, tests_database_url: str) -> Iterator[Door]:
    with serve(home, tests_database_url, diary=home / "door.diary") as served:
        yield served


def test_it_works(door: Door) -> None:
    assert door.request("POST", "/v1/ok", b'{"a": 1}') == (200, b'{"a": 1}')


def test_it_answers_404_for_what_is_not_a_route_of_the_gateway(door: Door) -> None:
    for path in ("/v1/nothing", "/v1/admin/", "/v1//admin/"):
        assert door.request("GET", path)[0] == 404


def test_it_answers_500_without_telling_why(door: Door) -> None:
    status, body = door.request("GET", "/v1/fail")
    assert status == 500
    assert b"secret of this failure" not in body


def test_hanging_up_before_the_first_byte_cancels_the_view(door: Door) -> None:
    connection = door.open("/v1/wait")
    door.wait_for("waiting")
    connection.close()
    door.wait_for("wait cancelled")


def test_hanging_up_during_a_stream_ends_its_generator(door: Door) -> None:
    connection = door.open("/v1/stream")
    received = b""
    while b"data: first" not in received:
        received += connection.recv(4096)
    connection.close()
    door.wait_for("stream ended")


def test_many_open_streams_need_no_threads(door: Door) -> None:
    before = door.told()["os_threads"]
    with ExitStack() as connections:
        for _ in range(200):
            connection = connections.enter_context(door.open("/v1/stream"))
            assert connection.recv(12).startswith(b"HTTP/1.1 200")
        assert door.told()["os_threads"] <= before + 2
    eventually(lambda: door.told()["events"].count("stream ended") >= 200)


def test_the_lifespan_opens_the_resources_and_closes_them(home: Path, tests_database_url: str) -> None:
    diary = home / "lifespan.diary"
    with serve(home, tests_database_url, diary=diary):
        assert diary.read_text() == "open\n"
    assert diary.read_text() == "open\nclosed\n"
