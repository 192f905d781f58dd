"""A provider that streams: a chunk for every TOKENS_A_CHUNK of `max_tokens`, at a steady pace, each with the moment it was sent.

    python -m benchmarks.load.stream_upstream --port 9000 --chunks-per-second 50

Invariant: one small process that costs the same for every chunk. The moment is the monotonic clock's, in nanoseconds, which
all processes of a machine share; so a reader knows how long each chunk was on its way.
"""

import argparse
import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from benchmarks.load.servers import started
from config.running import embedded

CHUNK = (
    'data: {"id":"chatcmpl-of-the-stream","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o-mini",'
    '"service_tier":"default","system_fingerprint":"fp_static","choices":[{"index":0,"delta":{%s},"logprobs":null,'
    '"finish_reason":%s}],"usage":null}\n\n'
)
LAST = (
    'data: {"id":"chatcmpl-of-the-stream","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o-mini",'
    '"service_tier":"default","system_fingerprint":"fp_static","choices":[],"usage":{"prompt_tokens":94,'
    '"completion_tokens":%d,"total_tokens":%d}}\n\ndata: [DONE]\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TOKENS_A_CHUNK = 8  # the moment's digits are six or seven: a stream stays within its limit
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@contextlib.contextmanager
def stream_upstream(home: Path, *, chunks_per_second: float = 50) -> Iterator[str]:
    """The address of a running one, without `/v1`."""
    port = embedded.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.load.stream_upstream", "--port", str(port)]
    command += ["--chunks-per-second", str(chunks_per_second)]
    with started("stream-upstream", command, home=home, ready=f"{url}/health"):
        yield url


async def serve(port: int, *, chunks_per_second: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = LENGTH.search(head)
                if not found or not head.startswith(b"POST"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    continue
                body = json.loads(await reader.readexactly(int(found[1])))
                chunks = body["max_tokens"] // TOKENS_A_CHUNK
                await send_stream(writer, chunks=chunks, interval=1 / chunks_per_second)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


async def send_stream(writer: asyncio.StreamWriter, *, chunks: int, interval: float) -> None:
    writer.write(HEAD)
    began = time.perf_counter()
    for number in range(chunks):
        await asyncio.sleep(max(0.0, began + number * interval - time.perf_counter()))
        _write(writer, CHUNK % (f'"content":"{time.perf_counter_ns()} "', "null"))
        await writer.drain()
    _write(writer, CHUNK % ("", '"stop"'))
    tokens = chunks * TOKENS_A_CHUNK
    _write(writer, LAST % (tokens, 94 + tokens))
    writer.write(b"0\r\n\r\n")


def _write(writer: asyncio.StreamWriter, text: str) -> None:
    data = text.encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--chunks-per-second", type=float, required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.port, chunks_per_second=options.chunks_per_second))
