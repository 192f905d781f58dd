"""Reads the files of the cache's benchmark: streams of questions and pairs of questions, JSON lines, gzipped or not.

Invariant: what is there decides what a file is (`cls` a stream, `label` pairs); exact repeats leave a stream, because
the exact cache has answered them before the semantic one is asked.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KNOWN_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "cache"
KNOWN_STREAMS = ("sql_stream", "banking77_stream")
KNOWN_PAIRS = ("synth_pairs", "qqp_pairs", "gptcache_mock_pairs")


@dataclass(frozen=True, slots=True)
class Stream:
    """Questions in order, and for each the number of its answer; `tenants` groups them by where they came from."""

    name: str
    texts: list[str]
    answers: list[int]
    sources: list[str]
    repeats: int


@dataclass(frozen=True, slots=True)
class Pairs:
    """Two questions each, whether one answer serves both, and of what kind the pair is."""

    name: str
    rows: list[tuple[str, str, bool, str]]


def read(path: Path) -> Stream | Pairs:
    """A file of either format."""
    rows = _rows(path)
    if not rows:
        raise SystemExit(f"{path} is empty")
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    if "cls" in rows[0]:
        return _stream(name, rows)
    if "label" in rows[0]:
        return Pairs(name, [(row["a"], row["b"], bool(row["label"]), row.get("cat") or "") for row in rows])
    raise SystemExit(f"{path} holds neither a stream (text, cls) nor pairs (a, b, label)")


def parts_of(stream: Stream) -> list[Stream]:
    """One stream for each source that its templates name; none if it has one source."""
    names = sorted(set(stream.sources))
    if len(names) < 2:
        return []
    parts = []
    for name in names:
        places = [place for place, source in enumerate(stream.sources) if source == name]
        parts.append(
            Stream(
                f"{stream.name}:{name}",
                [stream.texts[place] for place in places],
                [stream.answers[place] for place in places],
                [name] * len(places),
                0,
            )
        )
    return parts


def _stream(name: str, rows: list[dict[str, Any]]) -> Stream:
    numbers: dict[str, int] = {}
    kept: dict[str, tuple[int, str]] = {}
    for row in rows:
        answer = numbers.setdefault(str(row["cls"]), len(numbers))
        kept.setdefault(row["text"], (answer, str(row.get("tmpl", "")).partition(":")[0]))
    answers, sources = zip(*kept.values(), strict=True)
    return Stream(name, list(kept), list(answers), list(sources), len(rows) - len(kept))


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines if line.strip()]
