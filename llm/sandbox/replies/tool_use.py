"""Owns when the sandbox's models call a tool, and with which arguments.

Invariant: arguments validate against the tool's schema; a tool is never called when the choice is `none`.
"""

import re

import orjson

from llm.sandbox.prompt import Prompt, Tool, ToolCall
from llm.sandbox.replies.exercises import STOP_WORDS
from llm.sandbox.replies.schema_values import Facts, value_for

ASKS_FOR_TOOL = re.compile(r"\b(use|call|invoke|run)\b.{0,40}\b(tool|function)", re.IGNORECASE | re.DOTALL)
MOST_CALLS = 4


def tool_calls(prompt: Prompt) -> tuple[ToolCall, ...]:
    """The calls the model makes now; none when it answers instead."""
    if not prompt.tools or prompt.tool_choice == "none":
        return ()
    named = [tool for tool in prompt.tools if tool.name == prompt.tool_choice]
    if named:
        return _calls_of(named[0], prompt)
    if prompt.results:
        return ()  # the result has come: now the model answers
    ranked = sorted(prompt.tools, key=lambda tool: -_relevance(tool, prompt.question))
    relevant = [tool for tool in ranked if _relevance(tool, prompt.question) > 0]
    if prompt.tool_choice == "required" or ASKS_FOR_TOOL.search(prompt.question):
        relevant = relevant[:1] or ranked[:1]
    if not relevant:
        return ()
    if not prompt.is_parallel or len(relevant) == 1:
        calls = _calls_of(relevant[0], prompt)
        return calls if prompt.is_parallel else calls[:1]
    best = _relevance(relevant[0], prompt.question)
    equals = [tool for tool in relevant if _relevance(tool, prompt.question) == best]
    return tuple(call for tool in equals for call in _calls_of(tool, prompt))[:MOST_CALLS]


def _relevance(tool: Tool, question: str) -> int:
    """How many words of the tool's name, counted double, and description the question has."""
    words = {_stem(word) for word in re.findall(r"[a-z]{3,}", question.lower())} - STOP_WORDS
    name = {_stem(word) for word in re.findall(r"[a-z]{3,}", re.sub(r"([A-Z])", r"_\1", tool.name).lower())}
    description = {_stem(word) for word in re.findall(r"[a-z]{4,}", tool.description.lower())} - STOP_WORDS
    hits = len(words & (name - STOP_WORDS))
    return 2 * hits + len(words & description) if hits or len(words & description) > 1 else 0


def _stem(word: str) -> str:
    return re.sub(r"(ing|ed|es|s)$", "", word) if len(word) > 4 else word


def _calls_of(tool: Tool, prompt: Prompt) -> tuple[ToolCall, ...]:
    """One call, or one per place or person when the question names several and the tool takes one."""
    names = Facts(prompt.question, "").names
    required = tool.schema.get("required") or list(tool.schema.get("properties") or ())
    takes_one_name = len(required) == 1 and re.search(r"city|location|place|name|person|country", required[0])
    if prompt.is_parallel and takes_one_name and 1 < len(names) <= MOST_CALLS:
        return tuple(_call(tool, name) for name in names)
    return (_call(tool, prompt.question),)


def _call(tool: Tool, question: str) -> ToolCall:
    schema = {"type": "object", **tool.schema}
    return ToolCall(name=tool.name, arguments=orjson.dumps(value_for(schema, question=question)).decode())
