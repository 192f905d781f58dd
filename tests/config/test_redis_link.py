"""The connection to Redis that all calls share, on a real server: in order, bounded, and back by itself."""

import asyncio
import contextlib
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from config import redis_link
from config.redis_link import NoAnswer, RedisLink, Script
from config.running import embedded

DOUBLE = Script("return {KEYS[1], ARGV[1] * 2}")


@pytest.fixture
def mortal_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    home = tmp_path_factory.mktemp("redis")
    for folder in (home, *home.parents[:2]):
        folder.chmod(0o755)
    server = embedded.start_redis(Path(home))
    yield server
    server.stop()


@pytest.fixture
async def link(mortal_redis: embedded.Server) -> AsyncIterator[RedisLink]:
    link = RedisLink(mortal_redis.url)
    yield link
    await link.aclose()


@pytest.fixture
async def onlooker(mortal_redis: embedded.Server) -> AsyncIterator[Redis]:
    client = Redis.from_url(mortal_redis.url)
    yield client
    await client.aclose()


async def until_back(link: RedisLink) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(RedisError):
                return await link.ping()
            await asyncio.sleep(0.01)


async def test_it_works(link: RedisLink) -> None:
    assert await link.call("SET", "a", b"\x00\xff\r\n") == b"OK"
    assert await link.call("GET", "a") == b"\x00\xff\r\n"
    assert await link.call("GET", "none") is None
    assert await link.call("INCRBYFLOAT", "f", 1.5) == b"1.5"
    assert await link.run(DOUBLE, keys=["k"], arguments=[21]) == [b"k", 42]


async def test_the_commands_of_one_turn_leave_in_one_write(link: RedisLink, onlooker: Redis) -> None:
    await link.ping()
    await onlooker.ping()
    before = (await onlooker.info("stats"))["total_reads_processed"]
    assert await asyncio.gather(*(link.call("ECHO", n) for n in range(200))) == [
        str(n).encode() for n in range(200)
    ]
    assert (await onlooker.info("stats"))["total_reads_processed"] - before <= 3  # one is the onlooker's


async def test_replies_stay_in_order_when_some_are_not_waited_for_any_more(link: RedisLink) -> None:
    await link.ping()
    for turn in range(30):
        calls = [asyncio.ensure_future(link.call("ECHO", f"{turn}-{n}")) for n in range(20)]
        if turn % 3:
            await asyncio.sleep(0)  # they are on their way
        for call in calls[turn % 7 :: 3]:
            call.cancel()
        assert await link.call("ECHO", "after") == b"after"
        for n, call in enumerate(calls):
            assert call.cancelled() or call.result() == f"{turn}-{n}".encode()


async def test_big_values_come_and_go_whole(link: RedisLink) -> None:
    big = bytes(range(256)) * 20_000
    gets = []
    assert await link.call("SET", "big", big) == b"OK"
    for n in range(10):
        gets += [link.call("GET", "big"), link.call("ECHO", n)]
    for n, (found, echo) in enumerate(zip(gets[::2], gets[1::2], strict=True)):
        assert await found == big
        assert await echo == str(n).encode()


async def test_a_script_that_redis_has_lost_goes_out_again(link: RedisLink, onlooker: Redis) -> None:
    late = Script("return ARGV[1]")
    assert await link.run(DOUBLE, keys=["k"], arguments=[1]) == [b"k", 2]
    before = await onlooker.info("commandstats")
    assert "cmdstat_eval" not in before  # it was loaded with the connection
    await onlooker.script_flush()
    for _ in range(3):
        assert await link.run(late, arguments=["a"]) == b"a"
    assert (await onlooker.info("commandstats"))["cmdstat_eval"]["calls"] == 1


async def test_an_error_is_that_commands_alone(link: RedisLink) -> None:
    await link.call("SET", "text", "a")
    fails, works = link.call("INCR", "text"), link.call("ECHO", "a")
    with pytest.raises(ResponseError, match="not an integer"):
        await fails
    assert await works == b"a"
    with pytest.raises(UnicodeEncodeError):
        link.call("GET", "\ud800")
    assert await link.call("ECHO", "b") == b"b"


async def test_a_wrong_password_is_told_and_not_tried_without_end(mortal_redis: embedded.Server) -> None:
    host = urlsplit(mortal_redis.url)
    link = RedisLink(f"redis://:wrong@127.0.0.1:{host.port}/0")
    with pytest.raises(RedisError, match=r"WRONGPASS|invalid password"):
        await link.ping()
    with pytest.raises(ConnectionError, match="away"):
        await link.ping()
    with pytest.raises(RedisError):
        await RedisLink(f"redis://127.0.0.1:{host.port}/0").ping()


async def test_the_database_and_the_user_of_the_url_are_used(
    mortal_redis: embedded.Server, onlooker: Redis
) -> None:
    await onlooker.execute_command("ACL", "SETUSER", "ann", "on", ">s@:/", "~*", "+@all", "-script")
    port = urlsplit(mortal_redis.url).port
    link = RedisLink(f"redis://ann:s%40%3A%2F@127.0.0.1:{port}/3")
    assert await link.call("SET", "here", 1) == b"OK"
    assert await link.run(DOUBLE, keys=["k"], arguments=[1]) == [b"k", 2]  # though it may not load scripts
    assert not await onlooker.exists("here")
    await link.aclose()


async def test_without_redis_a_command_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    link = RedisLink("redis://127.0.0.1:1/0")
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        with pytest.raises(ConnectionError):
            await link.ping()
    assert asyncio.get_running_loop().time() - began < 1


async def test_a_restarted_redis_is_found_again(mortal_redis: embedded.Server) -> None:
    link = RedisLink(mortal_redis.url)
    assert await link.run(DOUBLE, keys=["k"], arguments=[1]) == [b"k", 2]
    mortal_redis.process.send_signal(signal.SIGSTOP)
    under_way = [asyncio.ensure_future(link.call("ECHO", n)) for n in range(50)]
    await asyncio.sleep(0.05)
    mortal_redis.process.kill()
    failures = await asyncio.gather(*under_way, return_exceptions=True)
    assert all(isinstance(failure, ConnectionError) for failure in failures)
    mortal_redis.process.wait()
    with pytest.raises(ConnectionError):
        await link.ping()
    again = embedded.start_redis(Path(mortal_redis.url_file).parent)
    try:
        await until_back(link)
        assert await link.run(DOUBLE, keys=["k"], arguments=[1]) == [b"k", 2]
        assert await asyncio.gather(*(link.call("ECHO", n) for n in range(9))) == [
            b"%d" % n for n in range(9)
        ]
        await link.aclose()
    finally:
        again.stop()


async def test_a_connection_that_redis_closed_is_replaced_unnoticed(link: RedisLink, onlooker: Redis) -> None:
    await link.ping()
    for client in await onlooker.client_list(_type="normal"):
        if client["id"] != str(await onlooker.client_id()):
            await onlooker.client_kill_filter(_id=client["id"])
    while link.is_connected:
        await asyncio.sleep(0.001)
    await link.ping()


async def test_a_slow_answer_is_not_waited_for_and_shifts_nothing(link: RedisLink, onlooker: Redis) -> None:
    await link.ping()
    slow = asyncio.create_task(onlooker.execute_command("DEBUG", "SLEEP", "0.3"))
    await asyncio.sleep(0.05)
    late = link.call("ECHO", "late", timeout_seconds=0.05)
    kept = link.call("ECHO", "kept", timeout_seconds=60)
    with pytest.raises(NoAnswer):
        await late
    assert await kept == b"kept"
    assert await link.call("ECHO", "next") == b"next"
    await slow


async def test_a_connection_that_is_silent_is_given_up(
    link: RedisLink, mortal_redis: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "SILENCE_SECONDS", 0.1)
    await link.ping()
    mortal_redis.process.send_signal(signal.SIGSTOP)
    try:
        waits = link.call("ECHO", "waits", timeout_seconds=60)
        with pytest.raises(NoAnswer):
            await link.call("ECHO", "late", timeout_seconds=0.2)
        with pytest.raises(ConnectionError):
            await waits
        assert not link.is_connected
    finally:
        mortal_redis.process.send_signal(signal.SIGCONT)
    await until_back(link)


async def test_what_waits_is_bounded(
    link: RedisLink, mortal_redis: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "MOST_WAITING", 100)
    monkeypatch.setattr(redis_link, "MOST_WAITING_BYTES", 1_000_000)
    await link.ping()
    mortal_redis.process.send_signal(signal.SIGSTOP)
    try:
        waiting = [link.call("ECHO", n, timeout_seconds=60) for n in range(100)]
        with pytest.raises(ConnectionError, match="Too much"):
            link.call("ECHO", "one more")
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionError, match="Too much"):
            link.call("ECHO", "one more")
    finally:
        mortal_redis.process.send_signal(signal.SIGCONT)
    assert await asyncio.gather(*waiting) == [b"%d" % n for n in range(100)]
    sets = [link.call("SET", n, bytes(300_000)) for n in range(3)]
    with pytest.raises(ConnectionError, match="Too much"):
        link.call("SET", "big", bytes(300_000))
    await asyncio.gather(*sets)
    assert await link.call("SET", "big", bytes(300_000)) == b"OK"


async def test_what_waits_fails_when_it_is_closed(link: RedisLink, mortal_redis: embedded.Server) -> None:
    opening = RedisLink(mortal_redis.url)
    early = opening.call("ECHO", "a")
    await opening.aclose()
    with pytest.raises(ConnectionError):
        await early
    await link.ping()
    late = link.call("ECHO", "a")
    await link.aclose()
    with pytest.raises(ConnectionError):
        await late
    with pytest.raises(ConnectionError):
        link.call("ECHO", "a")


@contextlib.asynccontextmanager
async def answering(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that greets as Redis does, then gives these answers, one for what it reads each time."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = await reader.read(100_000)
        writer.write(b"+PONG\r\n" + greeting.count(b"SCRIPT\r\n") * b"-ERR no\r\n")
        for answer in answers:
            if not await reader.read(100_000):
                break
            writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize(
    ("answer", "error", "stays"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", BusyLoadingError, True),
        (b"-BUSY Redis is busy running a script.\r\n", ResponseError, True),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", ResponseError, True),
        (b"-READONLY You can't write against a read only replica.\r\n", ReadOnlyError, False),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ConnectionError, False),
        (b"+one\r\n+more than was asked for\r\n", None, False),
    ],
)
async def test_what_else_redis_may_say(answer: bytes, error: type[Exception] | None, stays: bool) -> None:
    async with answering(answer) as port:
        link = RedisLink(f"redis://127.0.0.1:{port}/0")
        if error is None:
            assert await link.call("GET", "a") == b"one"
        else:
            with pytest.raises(error):
                await link.call("GET", "a")
        assert link.is_connected is stays
        await link.aclose()


async def test_a_redis_that_loads_is_away() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = await reader.read(100_000)
        writer.write(greeting.count(b"*") * b"-LOADING Redis is loading the dataset in memory\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = RedisLink(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    with pytest.raises(RedisError, match="LOADING"):
        await link.ping()
    server.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate")
async def test_it_speaks_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    makes = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*makes, *subject, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with answering(b"+here\r\n", tls=context) as port:
        known = RedisLink(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
        assert await known.call("GET", "a") == b"here"
        await known.aclose()
        with pytest.raises(ConnectionError, match="certificate"):
            await RedisLink(f"rediss://127.0.0.1:{port}/0").call("GET", "a")
