"""Owns the checks of request bodies that both wire formats share.

Invariant: a bad field is a ProviderError 400 that names it, in the words the providers use.
"""

from typing import Any

from llm.sandbox.catalog import context_window_of, is_offered
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, Exchange


def model_of(exchange: Exchange) -> str:
    """The model asked for; raises 400 without one and 404 for one that is not offered."""
    model = exchange.body.get("model")
    if not isinstance(model, str) or not model:
        if exchange.kind == ANTHROPIC:
            raise ProviderError(400, "model: Field required")
        raise ProviderError(400, "you must provide a model parameter")
    check_model(exchange, model)
    return model


def check_model(exchange: Exchange, model: str) -> None:
    """Raise 404 for a model that is not offered."""
    if exchange.sandbox.settings.allow_any_model or is_offered(model):
        return
    if exchange.kind == ANTHROPIC:
        raise ProviderError(404, f"model: {model}")
    raise ProviderError(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


def check_context(exchange: Exchange, input_tokens: int) -> None:
    """Raise 400 for a prompt that is longer than the model's context window."""
    window = context_window_of(exchange.call.model)
    if input_tokens <= window:
        return
    if exchange.kind == ANTHROPIC:
        raise ProviderError(400, f"prompt is too long: {input_tokens} tokens > {window} maximum")
    raise ProviderError(
        400,
        f"This model's maximum context length is {window} tokens. However, your messages resulted in "
        f"{input_tokens} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def check_room(exchange: Exchange, input_tokens: int) -> None:
    """Raise 400 where the prompt and the longest answer asked for do not fit the context window together."""
    window, limit = context_window_of(exchange.call.model), exchange.call.max_tokens
    if limit is None or input_tokens + limit <= window:
        return
    if exchange.kind == ANTHROPIC:
        raise ProviderError(
            400,
            f"input length and `max_tokens` exceed context limit: {input_tokens} + {limit} > {window}, decrease input "
            f"length or `max_tokens` and try again",
        )
    raise ProviderError(
        400,
        f"This model's maximum context length is {window} tokens. However, you requested {input_tokens + limit} "
        f"tokens ({input_tokens} in the messages, {limit} in the completion). Please reduce the length of the "
        f"messages or completion.",
        param="messages",
        code="context_length_exceeded",
    )


def whole_number(body: dict[str, Any], name: str, *, least: int, most: int | None = None) -> int | None:
    """An optional whole number within bounds."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProviderError(
            400,
            f"Invalid type for '{name}': expected an integer, but got {_type(value)} instead.",
            param=name,
            code="invalid_type",
        )
    if value < least:
        raise ProviderError(
            400,
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} "
            f"instead.",
            param=name,
            code="integer_below_min_value",
        )
    if most is not None and value > most:
        raise ProviderError(
            400,
            f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} "
            f"instead.",
            param=name,
            code="integer_above_max_value",
        )
    return value


def number(body: dict[str, Any], name: str, *, least: float, most: float) -> float | None:
    """An optional number within bounds."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ProviderError(
            400,
            f"Invalid type for '{name}': expected a decimal, but got {_type(value)} instead.",
            param=name,
            code="invalid_type",
        )
    if not least <= value <= most:
        bound, word, sign = (least, "below minimum", ">=") if value < least else (most, "above maximum", "<=")
        raise ProviderError(
            400,
            f"Invalid '{name}': decimal {word} value. Expected a value {sign} {bound:g}, but got {value} "
            f"instead.",
            param=name,
            code=(
                f"decimal_{word.replace(' ', '_').replace('minimum', 'min').replace('maximum', 'max')}_value"
            ),
        )
    return float(value)


def strings(value: Any, name: str) -> tuple[str, ...]:
    """An optional string or list of strings."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ProviderError(
        400, f"Invalid type for '{name}': expected an array of strings.", param=name, code="invalid_type"
    )


def _type(value: Any) -> str:
    names = {str: "a string", bool: "a boolean", list: "an array", dict: "an object", float: "a decimal"}
    return names.get(type(value), "null")
