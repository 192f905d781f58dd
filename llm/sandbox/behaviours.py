"""Owns the catalogue of what other servers answer: reads its files, and makes the bytes of one of their answers.

Invariant: a behaviour is data that says what it bills; a file that cannot be read stops the sandbox at its start.
"""

import functools
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "catalogue"
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
PREFIX = "behaviour:"
ORDERED = re.compile(rb"behaviour:([a-z0-9_]{1,80})")
SECTION = re.compile(r"^=== (.*)\n", re.MULTILINE)
NOTHING_ODD = {"whole": "application/json", "stream": "text/event-stream; charset=utf-8"}
LEDGERS = ("exact", "bound", "unread")
REQUIRED = frozenset({"seen", "odd", "right", "bills", "ledger"})
OPTIONAL = frozenset({"answer", "thinking", "tools", "error", "breaks", "request", "unlike"})
# in a body: ${input+10}, $ID, $MODEL, $BYTES(ff fe), $REPEAT(text,1000)
PLACE = re.compile(
    r"\$\{(?P<figure>[^}]+)\}|\$(?P<name>ID|MODEL)\b|\$(?P<made>BYTES|REPEAT)\((?P<of>[^)]*)\)"
)
FIGURE = re.compile(r"(?:(?P<name>input)|(?P<number>\d+))(?:(?P<sign>[+*-])(?P<by>\d+))?")


class UnreadableBehaviour(ValueError):
    """A file of the catalogue breaks its rules; the text says which file and how."""


@dataclass(frozen=True, slots=True)
class Script:
    """An answer as it leaves: its head, its body with places to fill, and how it is written."""

    body: str
    content_type: str
    status: int = 200
    pause_ms: int = 0  # after each event
    write_bytes: int = 0  # so many in a piece; 0: an event in a piece
    is_cut: bool = False  # the connection breaks behind it

    def rendered(self, *, input_tokens: int, upstream_id: str, model: str) -> bytes:
        """The bytes, with the call's own figures."""
        names = {"ID": upstream_id, "MODEL": model}
        rendered, end = bytearray(), 0
        for place in PLACE.finditer(self.body):
            rendered += self.body[end : place.start()].encode()
            if place["figure"]:
                rendered += str(figure(place["figure"], input_tokens)).encode()
            elif place["name"]:
                rendered += names[place["name"]].encode()
            elif place["made"] == "BYTES":
                rendered += bytes.fromhex(place["of"])
            else:
                text, _, times = place["of"].rpartition(",")
                rendered += text.encode() * int(times)
            end = place.end()
        return bytes(rendered) + self.body[end:].encode()

    def pieces(self, content: bytes) -> list[bytes]:
        """What is written at a time."""
        if self.write_bytes:
            step = self.write_bytes
            return [content[start : start + step] for start in range(0, len(content), step)]
        if self.pause_ms:
            return [event + b"\n\n" for event in content.split(b"\n\n") if event]
        return [content]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a server answers to any call, what it bills for it, and what its client and the books should make of it."""

    name: str
    protocol: str  # chat | messages | responses
    seen: str
    odd: str
    right: str
    bills: Mapping[str, str]  # figures by meter
    ledger: str  # exact: those figures; bound: no less; unread: no less, and marked as not plainly read
    scripts: Mapping[bool, Script]  # by whether a stream was asked for
    answer: str | None = None
    thinking: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    error: tuple[int, ...] = ()  # the statuses that may be the client's, where there is no answer
    breaks: bool = False  # the answer begins and then ends with an error
    request: Mapping[str, Any] = field(default_factory=dict)  # what the call should ask for
    # what differs in a stream, or in whole
    unlike: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The endpoint that answers so."""
        return PATHS[self.protocol]

    def answers(self, *, path: str, is_stream: bool) -> bool:
        """Whether this is an answer to such a call."""
        return path == self.path and is_stream in self.scripts

    def expected(self, *, is_stream: bool) -> dict[str, Any]:
        """What is right for a call of this kind: `bills`, `ledger`, `answer`, `thinking`, `tools`, `error`, `breaks`."""
        names = ("bills", "ledger", "answer", "thinking", "tools", "error", "breaks")
        common = {name: getattr(self, name) for name in names}
        return common | dict(self.unlike.get("stream" if is_stream else "whole", {}))

    def billed(self, *, input_tokens: int, is_stream: bool) -> dict[str, int]:
        """The call's line on the invoice."""
        bills = self.expected(is_stream=is_stream)["bills"]
        return {meter: figure(str(value), input_tokens) for meter, value in bills.items()}


@functools.cache
def behaviours() -> dict[str, Behaviour]:
    """The whole catalogue by name; raises UnreadableBehaviour."""
    found: dict[str, Behaviour] = {}
    for path in sorted(FOLDER.glob("*/*.txt")):
        behaviour = read(path.read_text(encoding="utf-8"), name=path.stem, protocol=path.parent.name)
        if behaviour.name in found:
            raise UnreadableBehaviour(f"{path}: there are two of this name")
        found[behaviour.name] = behaviour
    return found


def ordered_in(raw: bytes, *, path: str, is_stream: bool) -> str:
    """The behaviour that a body asks for, in its model's name or anywhere in its text; empty when there is none for
    such a call. The last one counts: a conversation may have asked for others before."""
    if PREFIX.encode() not in raw:
        return ""
    known = behaviours()
    names = [match[1].decode() for match in ORDERED.finditer(raw)]
    fitting = (name for name in reversed(names) if name in known)
    return next((name for name in fitting if known[name].answers(path=path, is_stream=is_stream)), "")


def read(text: str, *, name: str, protocol: str) -> Behaviour:
    """A file of the catalogue; raises UnreadableBehaviour."""
    head, *parts = SECTION.split(text)
    said = yaml.safe_load(head)
    if not isinstance(said, dict) or not said.keys() >= REQUIRED or not said.keys() <= REQUIRED | OPTIONAL:
        raise UnreadableBehaviour(
            f"{name}: says {', '.join(sorted(REQUIRED))}, and may say {sorted(OPTIONAL)}"
        )
    if said["ledger"] not in LEDGERS or protocol not in PATHS or not parts:
        raise UnreadableBehaviour(f"{name}: `ledger`, the folder or the answers are wrong")
    scripts: dict[bool, Script] = {}
    for line, body in zip(parts[::2], parts[1::2], strict=True):
        kinds, *options = shlex.split(line)
        for kind in kinds.split(","):
            scripts[kind == "stream"] = _script(name, kind, options, body)
    said["error"] = tuple(said.get("error", ()))
    said["tools"] = tuple(said.get("tools", ()))
    return Behaviour(name=name, protocol=protocol, scripts=scripts, **said)


def figure(text: str, input_tokens: int) -> int:
    """A figure like `input`, `10` or `input+10`, where `input` is what the call's prompt has."""
    match = FIGURE.fullmatch(text)
    if match is None:
        raise UnreadableBehaviour(f"{text!r} is no figure")
    value = input_tokens if match["name"] else int(match["number"])
    if match["sign"] is None:
        return value
    by = int(match["by"])
    return {"+": value + by, "-": value - by, "*": value * by}[match["sign"]]


def _script(name: str, kind: str, options: list[str], body: str) -> Script:
    said = dict(option.split("=", 1) for option in options)
    if kind not in NOTHING_ODD or not said.keys() <= {
        "status",
        "type",
        "pause_ms",
        "write_bytes",
        "ends",
        "lines",
    }:
        raise UnreadableBehaviour(f"{name}: there is no meaning for `{kind} {said}`")
    body = body.rstrip("\n")
    if "text/event-stream" in said.get("type", NOTHING_ODD[kind]) or body.startswith(
        ("data:", "event:", ":")
    ):
        body += "\n\n"
    ends = {"crlf": "\r\n", "cr": "\r", "lf": "\n"}
    return Script(
        body=body.replace("\n", ends[said.get("lines", "lf")]),
        content_type=said.get("type", NOTHING_ODD[kind]),
        status=int(said.get("status", 200)),
        pause_ms=int(said.get("pause_ms", 0)),
        write_bytes=int(said.get("write_bytes", 0)),
        is_cut=said.get("ends") == "cut",
    )
