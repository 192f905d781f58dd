"""Reads the words of the workload: labelled paraphrases, questions with published outcomes, and passages.

Invariant: what one answer serves, and which model answered a question correctly, is said by the data and never by the
product or by this benchmark. None of the files is part of this repository; benchmarks/results says where they are from.
"""

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("SAVINGS_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
PAIRS = "cache/qqp_pairs.jsonl"
OUTCOMES = ("routing/routellm_mmlu.jsonl.gz", "routing/routellm_gsm8k.jsonl.gz")
PASSAGES = "compression/nq-open-oracle.jsonl.gz"
STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b"
# A subject in which the strong model is right so much more often needs it.
COMPLEX_GAP = 0.15


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions; with equal classes one answer serves both."""

    first: str
    second: str
    first_class: str
    second_class: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what was published about it: whether a strong and a weaker model answered it correctly (0 to 1)."""

    text: str
    subject: str
    strong: float
    weak: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of an encyclopaedia, as a retriever finds it."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Texts:
    """All words that a workload is made of."""

    pairs: list[Pair]
    moderate: list[Question]
    complex: list[Question]
    passages: list[Passage]


def read() -> Texts:
    """All of it; says plainly what is missing."""
    missing = [name for name in (PAIRS, *OUTCOMES, PASSAGES) if not (FOLDER / name).exists()]
    if missing:
        raise SystemExit(f"{FOLDER} lacks {', '.join(missing)}; SAVINGS_DATA names another folder")
    rows = [row for name in OUTCOMES for row in _rows(FOLDER / name)]
    questions = [Question(row["prompt"], row["domain"], row["q"][STRONG], row["q"][WEAK]) for row in rows]
    moderate, complex_ = by_need(questions)
    passages = [
        Passage(found["title"], found["text"])
        for row in _rows(FOLDER / PASSAGES)
        for found in row["ctxs"]
        if len(found["text"]) > 200
    ]
    return Texts(labelled(_rows(FOLDER / PAIRS)), moderate, complex_, passages)


def labelled(rows: Iterable[dict[str, Any]]) -> list[Pair]:
    """The pairs with the classes of their questions: what is joined by labels of equality, over several pairs too."""
    rows = list(rows)
    parents: dict[str, str] = {}

    def root(text: str) -> str:
        while (parent := parents.get(text, text)) != text:
            parents[text] = parents.get(parent, parent)
            text = parent
        return text

    for row in rows:
        if row["label"]:
            parents[root(row["a"])] = root(row["b"])
    return [Pair(row["a"], row["b"], root(row["a"]), root(row["b"])) for row in rows]


def by_need(questions: list[Question]) -> tuple[list[Question], list[Question]]:
    """The questions of subjects for which the weaker model does, and of those that need the strong one."""
    gaps: dict[str, list[float]] = defaultdict(list)
    for question in questions:
        gaps[question.subject].append(question.strong - question.weak)
    needs_strong = {subject for subject, gap in gaps.items() if sum(gap) / len(gap) >= COMPLEX_GAP}
    complex_ = [question for question in questions if question.subject in needs_strong]
    known = {question.text for question in complex_}
    moderate = [question for question in questions if question.subject not in needs_strong]
    return [question for question in moderate if question.text not in known], complex_


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [json.loads(line) for line in lines if line.strip()]
