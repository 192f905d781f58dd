"""A chat completion request for an Anthropic model.

Invariant: what Anthropic has no counterpart for is refused by name; system messages keep their order among
themselves.
"""

from typing import Any, Final

from llm.wire.formats import Body
from llm.wire.texts import fields
from llm.wire.translation.chat_turns import system_and_turns
from llm.wire.translation.contract import StreamTranslator
from llm.wire.translation.messages_answers import ChatAnswerStream, chat_answer
from llm.wire.translation.refusing import Reader

TARGET: Final = "an Anthropic model"

# Anthropic's own parameters, which a chat client may send besides OpenAI's
_NATIVE: Final = (
    "thinking",
    "top_k",
    "cache_control",
    "container",
    "context_management",
    "inference_geo",
    "mcp_servers",
    "speed",
)
_EFFORTS: Final = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_TOOL_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}
_SERVICE_TIERS: Final = {"auto": "auto", "default": "standard_only"}
_EMPTY_SCHEMA: Final = {"type": "object", "properties": {}}
_JSON_ONLY: Final = (
    "Answer with one valid JSON object and nothing else: no prose before or after it, no code fence."
)


class ChatToMessages:
    """An OpenAI chat client and an Anthropic model."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.let_go: list[str] = []

    def request(self) -> Body:
        """The messages request, or Untranslatable. `max_tokens` is the caller's to set."""
        reader = Reader(self._body, target=TARGET, let_go=self.let_go)
        given = fields.each_object({"messages": reader.take("messages")}, "messages", required=True)
        system, messages = system_and_turns(given, target=TARGET)
        translated: Body = {"model": reader.take("model", ""), "messages": messages}
        translated |= _limits(reader)
        translated |= _tools(reader)
        output_config, instruction = _output(reader)
        if instruction:
            system.append({"type": "text", "text": instruction})
        if system:
            is_plain = len(system) == 1 and system[0].keys() == {"type", "text"}
            translated["system"] = system[0]["text"] if is_plain else system
        if user := reader.take("safety_identifier") or reader.take("user"):
            translated["metadata"] = {"user_id": user}
        reader.ignore("user")
        translated |= _sampling(reader)
        thinking, effort = _effort(reader)
        translated |= thinking | reader.pass_on(_NATIVE)
        if config := {**(reader.take("output_config") or {}), **output_config, **effort}:
            translated["output_config"] = config
        _refuse_rest(reader)
        return translated

    def response(self, response: Body) -> Body:
        return chat_answer(response)

    def stream(self) -> StreamTranslator:
        return ChatAnswerStream()


def _limits(reader: Reader) -> Body:
    limits: Body = {}
    old, new = reader.take("max_tokens"), reader.take("max_completion_tokens")
    if limit := new or old:
        limits["max_tokens"] = limit
    stop = reader.take("stop")
    if stop:
        limits["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    if reader.take("stream"):
        limits["stream"] = True
    tier = reader.take("service_tier")
    if tier is not None:
        if tier not in _SERVICE_TIERS:
            raise reader.refusal("service_tier")
        limits["service_tier"] = _SERVICE_TIERS[tier]
    return limits


def _sampling(reader: Reader) -> Body:
    sampling = reader.pass_on(("temperature", "top_p"))
    if sampling.get("temperature", 0) > 1:  # theirs ends at 1: to clamp would be to answer another question
        raise reader.refusal("temperature")
    return sampling


def _effort(reader: Reader) -> tuple[Body, Body]:
    effort = reader.take("reasoning_effort")
    if effort is None:
        return {}, {}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}, {}
    if effort not in _EFFORTS:
        raise reader.refusal("reasoning_effort")
    return {}, {"effort": _EFFORTS[effort]}


def _output(reader: Reader) -> tuple[Body, str]:
    """The output format, and the instruction that replaces JSON mode, which Anthropic does not have."""
    response_format = reader.take("response_format")
    if response_format is None:
        return {}, ""
    inner = reader.inside(response_format, "response_format")
    kind = inner.take("type")
    if kind == "text":
        return {}, ""
    if kind == "json_object":
        return {}, _JSON_ONLY
    if kind != "json_schema":
        raise inner.refusal("type")
    schema = inner.inside(inner.take("json_schema"), "json_schema")
    schema.ignore("name", "strict")  # a label; and Anthropic is always strict
    description = schema.take("description")
    shape = schema.take("schema") or _EMPTY_SCHEMA
    schema.done()
    if description and "description" not in shape:
        shape = {**shape, "description": description}
    return {"format": {"type": "json_schema", "schema": shape}}, ""


def _tools(reader: Reader) -> Body:
    tools = reader.take("tools")
    if not tools:
        reader.allow("tool_choice", "auto", "none")
        reader.ignore("parallel_tool_calls")
        return {}
    choice = reader.take("tool_choice")
    parallel = reader.take("parallel_tool_calls")
    translated: Body = {"tools": [_tool(reader, index, tool) for index, tool in enumerate(tools)]}
    if choice is None and parallel is not False:
        return translated
    translated["tool_choice"] = _tool_choice(reader, choice or "auto")
    if parallel is False and translated["tool_choice"]["type"] != "none":
        translated["tool_choice"]["disable_parallel_tool_use"] = True
    return translated


def _tool(reader: Reader, index: int, tool: Any) -> Body:
    inner = reader.inside(tool, "tools", index)
    if inner.take("type") != "function":
        raise inner.refusal("type")
    function = inner.inside(inner.take("function"), "function")
    translated = {"name": function.take("name"), **function.pass_on(("description",))}
    translated["input_schema"] = function.take("parameters") or _EMPTY_SCHEMA
    if function.take("strict"):
        translated["strict"] = True
    function.done()
    translated |= inner.pass_on(("cache_control",))
    inner.done()
    return translated


def _tool_choice(reader: Reader, choice: Any) -> Body:
    if isinstance(choice, str) and choice in _TOOL_CHOICES:
        return {"type": _TOOL_CHOICES[choice]}
    if (
        isinstance(choice, dict)
        and choice.get("type") == "function"
        and isinstance(choice.get("function"), dict)
    ):
        return {"type": "tool", "name": choice["function"].get("name")}
    raise reader.refusal("tool_choice")


def _refuse_rest(reader: Reader) -> None:
    reader.allow("n", 1)
    reader.allow("logprobs", False)
    reader.allow("top_logprobs", 0)
    reader.allow("presence_penalty", 0)
    reader.allow("frequency_penalty", 0)
    reader.allow("logit_bias", {})
    reader.ignore("store")  # it is the gateway that stores
    reader.ignore("metadata")  # of what is stored
    reader.allow("modalities", ["text"])
    reader.let_go("verbosity", harmless="medium")
    reader.allow("functions", [])
    reader.ignore("stream_options")  # usage always comes; who sees it is decided on the way back
    reader.let_go("prompt_cache_retention", harmless="in_memory")
    reader.let_go("prompt_cache_options")
    reader.ignore("prompt_cache_key")  # names a cache's place; Anthropic finds prefixes by themselves
    reader.done()
