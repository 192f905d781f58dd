"""Refuses more output than the model can give, in the words of its provider.

Invariant: pure; checks what the client wrote, before anything is counted, held or sent for it.
"""

from typing import Final

from llm.calls.call import Call
from llm.errors import InvalidRequest
from llm.providers.target import Target

_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_LONGER_OUTPUT: Final = "output-"  # a beta of Anthropic's, such as output-128k-2025-02-19


def check_limit(call: Call, target: Target) -> None:
    """Raise InvalidRequest for a limit above the maximum of the model that the request names."""
    asked, most = call.facts.max_output_tokens, target.output_bound
    if asked is None or asked <= most or target.model_kind != "chat" or is_maximum_raised(call):
        return
    field = next(name for name in _LIMIT_FIELDS if call.body.get(name))
    if call.wire.api == "anthropic.messages":
        message = f"{field}: {asked} > {most}, which is the maximum allowed number of output tokens for {target.model}"
    elif call.wire.api == "openai.responses":
        message = (
            f"Invalid '{field}': integer above maximum value. "
            f"Expected a value <= {most}, but got {asked} instead."
        )
    else:
        message = (
            f"{field} is too large: {asked}. This model supports at most {most} completion tokens, "
            f"whereas you provided {asked}."
        )
    raise InvalidRequest(message, param=field)


def is_maximum_raised(call: Call) -> bool:
    """Whether the request asks for more output than the model usually gives: then its provider is the judge."""
    return _LONGER_OUTPUT in call.passed_on.get("anthropic-beta", "")
