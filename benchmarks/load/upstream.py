"""The provider of the benchmarks: nginx with one fixed answer, which costs next to nothing.

Invariant: every answer is the same OpenAI chat completion with a usage block. It ends with the benchmark.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load.servers import started
from config.running import embedded

ANSWER = {
    "id": "chatcmpl-of-the-static-upstream",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "A transfer within the country takes one working day, and up to three across a border. "
                "Until the other bank confirms it the amount shows as pending, and it can still be called back. "
                "Please ask again with the reference number if nothing has changed after that time.",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 94,
        "completion_tokens": 57,
        "total_tokens": 151,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_static",
}
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/nginx.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {home}/nginx-body;
    proxy_temp_path {home}/nginx-proxy;
    fastcgi_temp_path {home}/nginx-fastcgi;
    uwsgi_temp_path {home}/nginx-uwsgi;
    scgi_temp_path {home}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        default_type application/json;
        location /health {{ return 200 '{{}}'; }}
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


class MissingTool(Exception):
    """A program of the benchmark is not installed. The message says what to do."""


@contextlib.contextmanager
def static_upstream(home: Path) -> Iterator[str]:
    """The address of a running upstream, without `/v1`."""
    if shutil.which("nginx") is None:
        raise MissingTool("the static upstream is nginx; on Debian and Ubuntu: apt install nginx-light")
    port = embedded.free_port()
    configuration = home / "nginx.conf"
    configuration.write_text(configuration_of(home, port))
    url = f"http://127.0.0.1:{port}"
    command = ["nginx", "-c", str(configuration), "-e", str(home / "nginx.log")]
    with started("upstream", command, home=home, ready=f"{url}/health"):
        yield url


def configuration_of(home: Path, port: int) -> str:
    answer = json.dumps(ANSWER)
    assert "'" not in answer
    assert "$" not in answer  # nginx would take it for a variable
    return CONFIGURATION.format(home=home, port=port, answer=answer)
