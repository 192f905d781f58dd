"""A provider with a model that works as coding agents want it to: it calls the shell once, and says what came of it.

Invariant: what it answers depends on the request alone. `asked` keeps each request with its headers, oldest first.

It speaks messages, chat and responses, streamed and whole; the sandbox's model chooses tools by chance and must not be given
a shell.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

COMMAND = "echo made-by-the-model > made.txt && cat made.txt"
LONG = "WRITE AT LENGTH"
DELEGATE = "DELEGATE IT"  # to a sub-agent, which is waited for
TASK = "Make the file."
LONG_WORDS = 6_000
AGENT_ID = re.compile(r'agent_id[\\"]+: ?[\\"]+([0-9a-f-]{36})')
SHELLS = {"Bash": "command", "exec_command": "cmd"}
Event = dict[str, Any]


class Model(ThreadingHTTPServer):
    """The provider's server."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [one["body"] for one in self.asked if one["path"].startswith(path)]


@contextmanager
def serving() -> Iterator[Model]:
    """The model at work, in a thread of its own."""
    with Model() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Turn:
    """What the model does about a request: call a tool, or say something."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.id = uuid4().hex  # agents take two answers of one id for the same
        self.text, self.call = "", None
        said = json.dumps([body.get("messages"), body.get("input")])
        tools = dict(_tools(body.get("tools") or ()))
        result = _last_result(body)
        spawn = next((tool for name, tool in tools.items() if name == "spawn_agent"), None)
        if "subagent_notification" in said:
            self.text = "The agent has made the file."
        elif DELEGATE in said and spawn is not None and result is None:
            self.call = self._call("spawn_agent", {"message": TASK}, spawn)
        elif DELEGATE in said and (found := AGENT_ID.search(result or "")):
            self.call = self._call("wait_agent", {"targets": [found[1]], "timeout_ms": 60_000}, spawn)
        elif LONG in said and tools:
            self.text = "word " * LONG_WORDS
        elif result is not None:
            self.text = f"The shell said: {result}"
        elif shell := next((name for name in tools if name in SHELLS), None):
            self.call = self._call(shell, {SHELLS[shell]: COMMAND}, tools[shell])
        elif "json_schema" in json.dumps(body.get("output_config")):
            self.text = json.dumps({"title": "A title", "branch": "a-branch"})
        else:
            self.text = "A summary: the word is made-by-the-model."
        self.thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
        self.output_tokens = max(8, len(self.text) // 5)

    def _call(self, name: str, arguments: dict[str, Any], tool: Any) -> dict[str, Any]:
        space = {"namespace": tool["namespace"]} if tool and "namespace" in tool else {}
        return {"id": f"call_{self.id}", "name": name, "input": arguments, **space}

    def usage(self) -> dict[str, int]:
        return {"input_tokens": 1_000, "output_tokens": self.output_tokens}


def _tools(tools: Any) -> Iterator[tuple[str, Any]]:
    for tool in tools:
        if tool.get("type") == "namespace":  # Codex's groups of tools
            for name, inner in _tools(tool["tools"]):
                yield name, inner | {"namespace": tool["name"]}
            continue
        function = tool.get("function") or tool
        if function.get("name"):
            yield function["name"], function


def _last_result(body: dict[str, Any]) -> str | None:
    """What the last tool said, where nobody has spoken since."""
    turns = body.get("messages") or body.get("input") or []
    for turn in reversed(turns if isinstance(turns, list) else []):
        if turn.get("type") == "function_call_output" or turn.get("role") == "tool":
            return json.dumps(turn.get("output") or turn.get("content"))
        content = turn.get("content")
        for block in content if isinstance(content, list) else ():
            if block.get("type") == "tool_result":
                return json.dumps(block.get("content"))
        if turn.get("role") == "user":
            return None
    return None


def messages_events(turn: Turn, model: str) -> Iterator[Event]:
    message: Event = {
        "id": f"msg_{turn.id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
    }
    usage = turn.usage()
    yield {
        "type": "message_start",
        "message": {
            **message,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage, "output_tokens": 1},
        },
    }
    for index, block in enumerate(message_blocks(turn)):
        kind = block["type"]
        empty = {
            "thinking": {"thinking": "", "signature": ""},
            "text": {"text": ""},
            "tool_use": {"input": {}},
        }[kind]
        yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
        deltas: list[Event]
        if kind == "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif kind == "tool_use":
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        else:
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    reason = "tool_use" if turn.call else "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def message_blocks(turn: Turn) -> list[Event]:
    blocks: list[Event] = []
    if turn.thinks:
        blocks.append({"type": "thinking", "thinking": "I had better look.", "signature": "c2lnbmVk"})
    if turn.call:
        return [*blocks, {"type": "tool_use", **turn.call}]
    return [*blocks, {"type": "text", "text": turn.text}]


def chat_events(turn: Turn, model: str) -> Iterator[Event]:
    chunk: Event = {
        "id": f"chatcmpl-{turn.id}",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
    }
    deltas: list[Event] = [{"role": "assistant", "content": ""}]
    if turn.call:
        function = {"name": turn.call["name"], "arguments": json.dumps(turn.call["input"])}
        deltas.append(
            {"tool_calls": [{"index": 0, "id": turn.call["id"], "type": "function", "function": function}]}
        )
    deltas += [{"content": piece} for piece in pieces(turn.text)]
    for delta in deltas:
        yield {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    reason = "tool_calls" if turn.call else "stop"
    yield {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    yield {**chunk, "choices": [], "usage": {"prompt_tokens": 1_000, "completion_tokens": turn.output_tokens}}


def responses_events(turn: Turn, model: str) -> Iterator[Event]:
    response: Event = {
        "id": f"resp_{turn.id}",
        "object": "response",
        "created_at": 1,
        "model": model,
        "output": [],
    }
    yield {"type": "response.created", "response": {**response, "status": "in_progress"}}
    if turn.call:
        arguments = json.dumps(turn.call["input"])
        item: Event = {
            "type": "function_call",
            "id": f"fc_{turn.id}",
            "call_id": turn.call["id"],
            **{name: turn.call[name] for name in ("name", "namespace") if name in turn.call},
        }
        item |= {"arguments": arguments, "status": "completed"}
    else:
        parts = [{"type": "output_text", "text": turn.text, "annotations": []}]
        item = {
            "type": "message",
            "id": f"msg_{turn.id}",
            "role": "assistant",
            "status": "completed",
            "content": parts,
        }
    added = {**item, "status": "in_progress"} | ({"content": []} if not turn.call else {"arguments": ""})
    yield {"type": "response.output_item.added", "output_index": 0, "item": added}
    for piece in pieces(turn.text):
        at = {"item_id": f"msg_{turn.id}", "output_index": 0, "content_index": 0}
        yield {"type": "response.output_text.delta", **at, "delta": piece}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    usage = {**turn.usage(), "total_tokens": 1_000 + turn.output_tokens}
    ended = {**response, "status": "completed", "output": [item], "usage": usage}
    yield {"type": "response.completed", "response": ended}


def pieces(text: str, size: int = 2_000) -> Iterator[str]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


class _Handler(BaseHTTPRequestHandler):
    server: Model
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = self.path.removeprefix("/v1")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append({"path": path, "headers": headers, "body": body})
        turn, model = Turn(body), str(body.get("model"))
        if path.startswith("/messages"):
            events = list(messages_events(turn, model))
            whole = {
                **events[0]["message"],
                "content": message_blocks(turn),
                **events[-2]["delta"],
                "usage": turn.usage(),
            }
        elif path.startswith("/chat"):
            events = list(chat_events(turn, model))
            message = {"role": "assistant", "content": turn.text or None}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {**events[-1]["usage"], "total_tokens": 1_000 + turn.output_tokens}
            whole = {
                "id": turn.id,
                "object": "chat.completion",
                "model": model,
                "choices": [choice],
                "usage": usage,
            }
        else:
            events = list(responses_events(turn, model))
            whole = events[-1]["response"]
        if not body.get("stream"):
            self._answer(json.dumps(whole).encode(), "application/json")
            return
        named = not path.startswith("/chat")
        told = "".join(
            (f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n"
            for event in events
        )
        self._answer((told + ("" if named else "data: [DONE]\n\n")).encode(), "text/event-stream")

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
