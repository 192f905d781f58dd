"""Turns an ask into the request that an application sends, and writes the answer that a model gives to it.

Invariant: a request of any kind has 2,000 tokens on average, an answer 500, as the premium model's tokenizer counts them.

Three applications: a help desk with its handbook in the system prompt (simple), a desk that answers from retrieved records
in JSON, indented as `json.dumps(..., indent=2)` writes it (moderate), and an analyst with long instructions (complex). A
records' prompt is filled up one by one; the fixed texts of the others make the average right.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from benchmarks.savings.texts import Passage
from benchmarks.savings.workload import Ask
from llm.tokens import counting

INPUT_TOKENS, OUTPUT_TOKENS = 2_000, 500
TOKENIZER = "gpt-4-turbo"
INSTRUCTIONS = {
    "simple": "You answer questions at a help desk. Keep to the handbook.\n\nHandbook:\n\n",
    "moderate": "You answer questions from retrieved records. If they do not help, say what you know.\n\n",
    "complex": "You are an analyst. Think step by step and check your result.\n\nWhat we know:\n\n",
}
LEAST_RECORD_TOKENS = 20
BRACKETS = 1  # tokens around a list of one record that a longer list has once


class Applications:
    """The three applications of a day, with their fixed texts cut to size."""

    def __init__(self, asks: Sequence[Ask], passages: Sequence[Passage]) -> None:
        encoding = counting.encoding_for(TOKENIZER)
        prose = "\n\n".join(passage.text for passage in passages[:60])
        tokens = encoding.encode_ordinary(prose)
        self.fixed: dict[str, str] = {}
        for kind, instructions in INSTRUCTIONS.items():
            questions = [ask for ask in asks if ask.kind == kind]
            if kind == "moderate" or not questions:
                self.fixed[kind] = instructions
                continue
            without = [
                counting.count_chat(_chat(instructions, "", one.question), TOKENIZER) for one in questions
            ]
            room = INPUT_TOKENS - round(sum(without) / len(without))
            self.fixed[kind] = instructions + encoding.decode(tokens[:room])
        words = re.sub(r"\d[\d.,]*", "some", encoding.decode(tokens[: 2 * OUTPUT_TOKENS]))
        self._answer_words = encoding.encode_ordinary(words)

    def body(self, ask: Ask) -> dict[str, Any]:
        """The request, without its model."""
        records = ""
        if ask.records:
            bare = counting.count_chat(_chat(self.fixed[ask.kind], "Records:\n", ask.question), TOKENIZER)
            records = "Records:\n" + _records(ask.records, INPUT_TOKENS - bare)
        return _chat(self.fixed[ask.kind], records, ask.question)

    def answer(self, number: int) -> str:
        """The text of an answer: another number, another answer, which the product's own comparison tells apart."""
        encoding = counting.encoding_for(TOKENIZER)
        opening = f"This is answer number {number}. "
        room = OUTPUT_TOKENS - len(encoding.encode_ordinary(opening))
        return (opening + encoding.decode(self._answer_words[:room])).strip()


def number_of(text: str) -> int:
    """Which answer a text is; 0 for none of ours."""
    found = re.match(r"This is answer number (\d+)\.", text)
    return int(found[1]) if found else 0


def _chat(system: str, records: str, question: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}]
    if records:
        messages.append({"role": "system", "content": records})
    return {"messages": [*messages, {"role": "user", "content": question}]}


def _records(passages: Sequence[Passage], room: int) -> str:
    """As many records as fit, the last one cut, as indented JSON."""
    encoding = counting.encoding_for(TOKENIZER)
    kept: list[dict[str, Any]] = []
    for rank, passage in enumerate(passages, start=1):
        record = {"rank": rank, "title": passage.title, "source": "wiki", "text": passage.text}
        tokens = len(encoding.encode_ordinary(_indented([record]))) - BRACKETS
        if tokens > room:
            words = encoding.encode_ordinary(passage.text)
            left = len(words) - (tokens - room)
            if left >= LEAST_RECORD_TOKENS:
                kept.append(record | {"text": encoding.decode(words[:left])})
            break
        kept.append(record)
        room -= tokens
    return _indented(kept)


def _indented(records: list[dict[str, Any]]) -> str:
    return json.dumps(records, indent=2, ensure_ascii=False)
