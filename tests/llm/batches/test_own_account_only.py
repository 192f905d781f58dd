"""A provider's answer does not send us, and the account's key, anywhere else: neither by redirect nor by an address in it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llm.providers.kinds.anthropic.message_batches import AnthropicBatches
from llm.providers.kinds.batch_api import UpstreamError
from llm.providers.kinds.openai.file_batches import OpenAIBatches

RESULT = {
    "custom_id": "one",
    "result": {"type": "succeeded", "message": {"id": "msg_1", "type": "message", "content": []}},
}


@dataclass
class Server:
    """Answers by path, or redirects everything."""

    url: str = ""
    redirects_to: str = ""
    answers: dict[str, bytes] = field(default_factory=dict)
    heard: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """The provider's, and one that should hear nothing."""
    running, described = [], []
    for _ in range(2):
        server = Server()

        class Handler(BaseHTTPRequestHandler):
            told = server

            def do_GET(self) -> None:
                self.told.heard.append((self.path, self.headers.get("authorization", "")))
                body = self.told.answers.get(self.path, b"{}")
                self.send_response(307 if self.told.redirects_to else 200)
                if self.told.redirects_to:
                    self.send_header("location", self.told.redirects_to + self.path)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.url = f"http://127.0.0.1:{listening.server_port}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        running.append(listening)
        described.append(server)
    yield described[0], described[1]
    for listening in running:
        listening.shutdown()
        listening.server_close()


def test_results_come_from_the_account_itself(servers: tuple[Server, Server]) -> None:
    provider, stranger = servers
    batch = {
        "id": "b",
        "processing_status": "ended",
        "results_url": f"{stranger.url}/v1/messages/batches/b/results",
    }
    provider.answers = {
        "/v1/messages/batches/b": json.dumps(batch).encode(),
        "/v1/messages/batches/b/results": json.dumps(RESULT).encode() + b"\n",
    }
    results = list(AnthropicBatches(base_url=provider.url, api_key="sk").results("b"))
    assert [(result.name, result.status) for result in results] == [("one", 200)]
    assert provider.heard == [("/v1/messages/batches/b/results", "Bearer sk")]
    assert stranger.heard == []


def test_a_batch_id_leads_nowhere_else(servers: tuple[Server, Server]) -> None:
    provider, _ = servers
    path = "/v1/messages/batches/..%2F..%2Forganizations%2Fx%3Fy/results"
    provider.answers = {path: b"\n"}
    assert not list(AnthropicBatches(base_url=provider.url, api_key="sk").results("../../organizations/x?y"))
    assert provider.heard[0][0] == path


@pytest.mark.parametrize("kind", [AnthropicBatches, OpenAIBatches])
def test_a_redirect_is_not_followed(kind: type, servers: tuple[Server, Server]) -> None:
    provider, stranger = servers
    provider.redirects_to = stranger.url
    api = kind(base_url=provider.url, api_key="sk")
    for ask in (lambda: api.look("b"), lambda: list(api.results("b")), lambda: api.cancel("b")):
        with pytest.raises(UpstreamError):
            ask()
    assert provider.heard
    assert stranger.heard == []
