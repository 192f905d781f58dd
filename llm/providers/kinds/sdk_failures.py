"""How a call through a provider's SDK failed. Both SDKs raise the same three kinds of errors, each its own classes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import anthropic
import openai

from llm.providers.errors import without_secrets
from llm.providers.kinds.batch_api import UpstreamError

# what either SDK's HTTP client calls a request of which no byte went out
NEVER_LEFT: Final = frozenset({"ConnectError", "ConnectTimeout"})
WORTH_ANOTHER_TRY: Final = frozenset({401, 403, 408, 409, 429})


@contextmanager
def as_upstream_errors(*, api_key: str) -> Iterator[None]:
    """Raise UpstreamError for anything that an SDK raises inside, without the account's key in its message."""
    try:
        yield
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        raise _refused(error, api_key=api_key) from error
    except (openai.APIConnectionError, anthropic.APIConnectionError) as error:
        never_left = type(error.__cause__).__name__ in NEVER_LEFT
        raise UpstreamError(f"No answer: {type(error).__name__}.", may_have_arrived=not never_left) from error
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        raise UpstreamError(f"No usable answer: {type(error).__name__}.", may_have_arrived=True) from error


def _refused(error: Any, *, api_key: str) -> UpstreamError:
    status = error.status_code
    return UpstreamError(
        without_secrets(error.message, api_key=api_key),
        may_have_arrived=status >= 500,
        is_final=status < 500 and status not in WORTH_ANOTHER_TRY,
        status=status,
    )
