"""Shortens a prompt, step by step, and says by how much.

Invariant: fail-open and never longer. A step that fails, or that saves nothing, leaves the body as it was;
the caller's body is never edited, and nothing before a provider's cache mark changes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from llm.compression.duplicates import drop_duplicate_exchanges, drop_duplicate_paragraphs
from llm.compression.history import last_exchanges
from llm.compression.json_minify import compact, minify_json
from llm.compression.turns import (
    Rewrite,
    Turn,
    exchanges,
    frozen_turns,
    is_system_frozen,
    rewrite_content,
    rewrite_texts,
    texts_of,
    turns_field,
)
from llm.compression.whitespace import compact_whitespace
from tenants.policy import CompressionPolicy

Body = Mapping[str, Any]

# questions that are about the very thing a step would take away
_ABOUT_LAYOUT: Final = re.compile(
    r"\b(?:indent\w*|pretty[- ]?print\w*|whitespace|blank lines?|line \d+|layout|beautif\w+)\b", re.I
)
_ABOUT_REPETITION: Final = re.compile(
    r"\b(?:duplicat\w*|repeat\w*|repetit\w*|identical|compar\w+|differ\w*|same|how (?:many times|often)|"
    r"count(?:s|ed|ing)?|occurrences?)\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class CompressionStep:
    """One step: the tokens before and after it, or why it was not taken (`skipped`)."""

    name: str
    tokens_before: int
    tokens_after: int
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Compressed:
    """The body to send, its tokens before and after, and each step. `body` is the caller's own if nothing was
    saved."""

    body: Body
    tokens_before: int
    tokens_after: int
    steps: tuple[CompressionStep, ...] = ()

    @property
    def saved_tokens(self) -> int:
        return self.tokens_before - self.tokens_after

    def to_receipt(self) -> dict[str, Any]:
        """The steps as JSON, for the receipt."""
        return {
            "tokens_before": self.tokens_before,
            "tokens_after": self.tokens_after,
            "steps": [
                {
                    "name": step.name,
                    "tokens_before": step.tokens_before,
                    "tokens_after": step.tokens_after,
                    **({"skipped": step.skipped} if step.skipped else {}),
                }
                for step in self.steps
            ],
        }


def compress(
    body: Body,
    *,
    protocol: str,
    policy: CompressionPolicy,
    count: Callable[[Body], int],
) -> Compressed:
    """Shorten a chat, messages or responses body by the steps the policy names. `count` is its input tokens.

    `protocol` is the wire format's name; a body without a list of turns comes back as it is.
    """
    before = count(body)
    field = turns_field(body, protocol=protocol)
    current, tokens, taken = body, before, []
    for name, step in _steps(policy) if field else ():
        try:
            shorter = step(current, field)
            now = tokens if shorter is current else count(shorter)
        except _SkippedError as reason:
            taken.append(CompressionStep(name, tokens, tokens, skipped=str(reason)))
        except Exception as error:  # a prompt we cannot read is sent as it came
            taken.append(CompressionStep(name, tokens, tokens, skipped=f"failed: {type(error).__name__}"))
        else:
            if now < tokens:
                taken.append(CompressionStep(name, tokens, now))
                current, tokens = shorter, now
    return Compressed(body=current, tokens_before=before, tokens_after=tokens, steps=tuple(taken))


class _SkippedError(Exception):
    """Why a step leaves this body alone."""


_Step = Callable[[Body, str], Body]


def _steps(policy: CompressionPolicy) -> list[tuple[str, _Step]]:
    steps: list[tuple[str, _Step]] = []
    if policy.json:
        steps.append(("json", _minify_json))
    if policy.whitespace:
        steps.append(("whitespace", partial(_rewrite, rewrite=compact_whitespace)))
    if policy.history_turns:
        steps.append(("history", partial(_keep_window, history_turns=policy.history_turns)))
    if policy.duplicates:
        # after the window: what it refers to must still be there
        steps.append(("duplicates", _drop_duplicates))
    return steps


def _minify_json(body: Body, field: str) -> Body:
    return _compact_arguments(_rewrite(body, field, rewrite=minify_json), field)


def _drop_duplicates(body: Body, field: str) -> Body:
    turns = body[field]
    _unless_about(_ABOUT_REPETITION, turns, "the question is about repetition")
    frozen = frozen_turns(body, turns)
    kept = drop_duplicate_paragraphs(drop_duplicate_exchanges(turns, frozen=frozen), frozen=frozen)
    return _with_turns(body, field, kept)


def _keep_window(body: Body, field: str, *, history_turns: int) -> Body:
    turns = body[field]
    kept = last_exchanges(turns, history_turns=history_turns, frozen=frozen_turns(body, turns))
    return _with_turns(body, field, kept)


def _rewrite(body: Body, field: str, *, rewrite: Rewrite) -> Body:
    """Rewrite every text that no cache mark freezes; the answer a client has begun for the model stays as it
    is."""
    turns = body[field]
    _unless_about(_ABOUT_LAYOUT, turns, "the question is about layout")
    frozen = frozen_turns(body, turns)
    begun = len(turns) - 1 if turns[-1].get("role") == "assistant" else len(turns)
    rewritten = [
        turn if position < frozen or position == begun else rewrite_texts(turn, rewrite)
        for position, turn in enumerate(turns)
    ]
    shorter = _with_turns(body, field, rewritten)
    if body.get("system") and not is_system_frozen(body, frozen=frozen):
        system = rewrite_content(body["system"], rewrite)
        if system is not body["system"]:
            shorter = {**shorter, "system": system}
    return shorter


def _compact_arguments(body: Body, field: str) -> Body:
    """Write the arguments of earlier tool calls compactly: they are JSON by definition."""
    turns = body[field]
    frozen = frozen_turns(body, turns)
    rewritten = [
        turn if position < frozen else _with_compact_calls(turn) for position, turn in enumerate(turns)
    ]
    return _with_turns(body, field, rewritten)


def _with_compact_calls(turn: Turn) -> Turn:
    calls = turn.get("tool_calls")
    if not isinstance(calls, list):
        return turn
    changed = [_with_compact_call(call) for call in calls]
    return (
        turn
        if all(new is old for new, old in zip(changed, calls, strict=True))
        else {**turn, "tool_calls": changed}
    )


def _with_compact_call(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(arguments := function.get("arguments"), str):
        return call
    if (shorter := compact(arguments)) == arguments:
        return call
    return {**call, "function": {**function, "arguments": shorter}}


def _with_turns(body: Body, field: str, after: list[Turn]) -> Body:
    before = body[field]
    if len(after) == len(before) and all(new is old for new, old in zip(after, before, strict=True)):
        return body
    return {**body, field: after}


def _unless_about(pattern: re.Pattern[str], turns: list[Turn], reason: str) -> None:
    """Raise when the last ask, as far as it is a question and not a document, is about what the step takes
    away."""
    groups = exchanges(turns)
    asked = texts_of(turns[groups[-1][0]]) if groups else []
    if any(pattern.search(text[:500]) or pattern.search(text[-500:]) for text in asked):
        raise _SkippedError(reason)
