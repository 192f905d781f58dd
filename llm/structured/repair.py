"""Builds the repair request: the request again, with the answer that did not fit and its error.

Invariant: pure; the earlier turns stay as they are, so that a provider's prompt cache still knows them.
"""

from llm.structured.asked import Asked
from llm.wire import Body

TEXT = (
    "This does not match the JSON schema that was asked for: {problem}\n"
    "Answer again, with nothing but JSON that matches the schema."
)
TOOL = (
    "The arguments do not match the tool's schema: {problem}\n"
    "Call the tool again, with arguments that match its schema."
)


def with_repair(api: str, body: Body, answer: Body, *, asked: Asked, problem: str) -> Body:
    """The request of the repair, in the client's protocol."""
    instruction = (TOOL if asked.tool else TEXT).format(problem=problem)
    if api == "openai.chat":
        return {**body, "messages": [*body["messages"], *_chat_turns(answer, asked, instruction)]}
    if api == "openai.responses":
        given = body.get("input")
        turns = given if isinstance(given, list) else [{"role": "user", "content": given}] if given else []
        return {**body, "input": [*turns, *_response_items(answer, asked, instruction)]}
    return {**body, "messages": [*body["messages"], *_message_turns(answer, asked, instruction)]}


def _chat_turns(answer: Body, asked: Asked, instruction: str) -> list[Body]:
    message = answer["choices"][0]["message"]
    calls = message.get("tool_calls")
    if not asked.tool or not calls:
        return [
            {"role": "assistant", "content": message.get("content") or ""},
            {"role": "user", "content": instruction},
        ]
    results = [{"role": "tool", "tool_call_id": call.get("id"), "content": instruction} for call in calls]
    return [{"role": "assistant", "content": message.get("content"), "tool_calls": calls}, *results]


def _response_items(answer: Body, asked: Asked, instruction: str) -> list[Body]:
    calls = [item for item in answer.get("output") or () if item.get("type") == "function_call"]
    if not asked.tool or not calls:
        text = "".join(
            part.get("text") or ""
            for item in answer.get("output") or ()
            for part in item.get("content") or ()
            if item.get("type") == "message"
        )
        return [{"role": "assistant", "content": text}, {"role": "user", "content": instruction}]
    kept = ("type", "call_id", "name", "arguments")
    asked_again = [{name: call[name] for name in kept if name in call} for call in calls]
    results = [
        {"type": "function_call_output", "call_id": call.get("call_id"), "output": instruction}
        for call in calls
    ]
    return [*asked_again, *results]


def _message_turns(answer: Body, asked: Asked, instruction: str) -> list[Body]:
    content = answer.get("content") or []
    calls = [block for block in content if block.get("type") == "tool_use"]
    if not asked.tool or not calls:
        text = "".join(block["text"] for block in content if block.get("type") == "text")
        return [
            {"role": "assistant", "content": text or "(nothing)"},
            {"role": "user", "content": instruction},
        ]
    results = [
        {"type": "tool_result", "tool_use_id": call.get("id"), "is_error": True, "content": instruction}
        for call in calls
    ]
    return [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
