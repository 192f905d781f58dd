"""The messages of a chat as an Anthropic system prompt and turns.

Invariant: roles alternate: what the user and the tools said between two answers is one turn, in its order. What
Anthropic refuses and is not needed is left out: empty texts, and the turns that had nothing else. One odd call in a long
history does not make a conversation unusable.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from llm.errors import InvalidRequest
from llm.wire.formats import Body
from llm.wire.translation.media import media_type
from llm.wire.translation.refusing import Reader
from llm.wire.translation.tool_inputs import input_of

# what OpenAI's SDKs add to an answer they parsed: another reading of the field next to it
SDK_READINGS: Final = ("parsed", "parsed_arguments")

_NOT_IN_AN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")


def system_and_turns(messages: Iterable[Body], *, target: str) -> tuple[list[Body], list[Body]]:
    """System blocks, and turns that join what the user and the tools said."""
    system: list[Body] = []
    turns: list[Body] = []
    for index, message in enumerate(messages):
        reader = Reader(message, target=target, at=f"messages.{index}")
        role = reader.take("role")
        if role in ("system", "developer"):
            system += _blocks(reader)
        elif role == "user":
            _append(turns, "user", _blocks(reader))
        elif role == "tool":
            reader.ignore("name")  # the call's id names the tool
            _append(turns, "user", [_tool_result(reader)])
        elif role == "assistant":
            _append(turns, "assistant", _assistant(reader))
        else:
            raise reader.refusal("role")
        reader.done()
    if not turns:
        raise InvalidRequest("Field 'messages' has no message with anything in it.", param="messages")
    return [block for block in system if _says_something(block)], [_plain(turn) for turn in turns]


def _append(turns: list[Body], role: str, blocks: list[Body]) -> None:
    blocks = [block for block in blocks if _says_something(block)]
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _says_something(block: Body) -> bool:
    """Whether it is no text that Anthropic would refuse for its emptiness."""
    text = block.get("text")
    return block.get("type") != "text" or not isinstance(text, str) or bool(text.strip())


def _plain(turn: Body) -> Body:
    """A turn of one plain text is written as such."""
    blocks = turn["content"]
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return {**turn, "content": blocks[0]["text"]}
    return turn


def _tool_result(reader: Reader) -> Body:
    blocks = [block for block in _blocks(reader) if _says_something(block)]
    result: Body = {"type": "tool_result", "tool_use_id": _id_of(reader.take("tool_call_id"))}
    if blocks:
        plain = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
        result["content"] = blocks[0]["text"] if plain else blocks
    return result


def _id_of(identity: Any) -> Any:
    """A call's id in the letters that Anthropic takes; a call and its result keep the same one."""
    return _NOT_IN_AN_ID.sub("_", identity) if isinstance(identity, str) else identity


def _assistant(reader: Reader) -> list[Body]:
    thinking = reader.take("thinking_blocks") or []
    # sent to the client, or made of the answer by its SDK: never part of the prompt
    reader.ignore("reasoning_content", "reasoning", "annotations", *SDK_READINGS)
    blocks = [*thinking, *(_blocks(reader) if reader.has("content") else ())]
    if refusal := reader.take("refusal"):
        blocks.append({"type": "text", "text": refusal})
    for index, call in enumerate(reader.take("tool_calls") or ()):
        inner = reader.inside(call, "tool_calls", index)
        inner.ignore("index")
        if inner.take("type", "function") != "function":
            raise inner.refusal("type")
        function = inner.inside(inner.take("function"), "function")
        function.ignore(*SDK_READINGS)
        arguments = input_of(function.take("arguments"))
        identity, name = _id_of(inner.take("id")), function.take("name")
        blocks.append({"type": "tool_use", "id": identity, "name": name, "input": arguments})
        function.done()
        inner.done()
    return blocks


def _blocks(reader: Reader) -> list[Body]:
    content = reader.take("content", "")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise reader.refusal("content")
    return [_block(reader.inside(part, "content", index)) for index, part in enumerate(content)]


def _block(part: Reader) -> Body:
    kind = part.take("type")
    if kind in ("text", "refusal"):
        block: Body = {"type": "text", "text": part.take(kind, "")}
    elif kind == "image_url":
        block = _image(part.inside(part.take("image_url"), "image_url"))
    elif kind == "file":
        block = _document(part.inside(part.take("file"), "file"))
    else:
        raise part.refusal("type")
    block |= part.pass_on(("cache_control",))
    part.done()
    return block


def _image(image: Reader) -> Body:
    image.allow("detail", "auto", "high")  # Anthropic always looks closely
    url = str(image.take("url", ""))
    image.done()
    if url.startswith("data:"):
        return {"type": "image", "source": _base64(image, url)}
    return {"type": "image", "source": {"type": "url", "url": url}}


def _document(file: Reader) -> Body:
    data = file.take("file_data")
    if not isinstance(data, str):
        raise file.refusal("file_id")
    title = file.take("filename")
    file.done()
    url = data if data.startswith("data:") else f"data:application/pdf;base64,{data}"
    return {"type": "document", "source": _base64(file, url), **({"title": title} if title else {})}


def _base64(reader: Reader, url: str) -> Body:
    kind, separator, data = url.removeprefix("data:").partition(";base64,")
    if not separator:
        raise reader.refusal("url")
    return {"type": "base64", "media_type": media_type(kind.partition(";")[0]), "data": data}
