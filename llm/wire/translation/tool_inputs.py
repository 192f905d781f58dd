"""The arguments of a tool's call as the object that Anthropic's protocol wants.

Invariant: pure; nothing is lost. No arguments are an empty object; a text that is no object is carried on inside one,
under the name that says so.
"""

from typing import Any, Final

import orjson

from llm.wire.texts.json_texts import is_too_deep

UNREADABLE: Final = "_raw"


def input_of(arguments: Any) -> dict[str, Any]:
    """The object that arguments mean, given as text or as what a server made of them."""
    if isinstance(arguments, dict):
        return arguments
    value = arguments
    if isinstance(arguments, str):
        if not arguments.strip():
            return {}
        try:
            value = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            return {UNREADABLE: arguments}
        if is_too_deep(value, arguments.encode(errors="replace")):
            return {UNREADABLE: arguments}
    if value is None:
        return {}
    return value if isinstance(value, dict) else {UNREADABLE: arguments}
