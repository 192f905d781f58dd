"""One call to an embedding model for the semantic cache: several texts of one key, and their vectors.

Invariant: it is an own call (`own_calls`) with the cache state `embed`, booked to the key whose texts they are. What
comes back is one unit vector a text, all finite and of one length, or one of the exceptions below. Only accounts that
call the model by one and the same name are asked, each once: a vector never comes from another model.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np
import orjson
import structlog

from caching.embedders.base import Vector
from caching.entries.near_indexes import MOST_DIMENSIONS
from caching.metrics import EMBED_CALLS
from llm import pipeline
from llm.calls import own_calls
from llm.calls.call import Call
from llm.calls.own_calls import DailyBudget, OnBehalfOf, SpendUnknown
from llm.catalog.catalog import Catalog
from llm.catalog.snapshot import TenantSnapshot
from llm.learning.asking import ONCE, always
from llm.providers.errors import ProviderFailure, ProviderRejected
from llm.providers.target import Target
from llm.wire import format_for
from tenants.errors import ClientError

STATE: Final = "embed"
# In the background: the request does not wait so long.
MOST_SECONDS: Final = 10.0
STATUSES_OF_TEXTS: Final = frozenset({400, 413, 422})
LEAST_DIMENSIONS: Final = 8  # a vector of a few numbers separates nothing
_LEAST_LENGTH = 1e-6

log = structlog.get_logger("purser.cache")


class EmbeddingFailed(Exception):
    """The provider gave no vectors, or none that can be believed; or what was spent is not known."""


class EmbeddingRefused(EmbeddingFailed):
    """The call was not made, or these texts were not taken: that says nothing about the provider."""


class TextsRefused(EmbeddingRefused):
    """The provider does not take one of the texts, and has billed nothing."""


class AllowanceSpent(EmbeddingRefused):
    """The tenant's vectors have cost today what they may."""


async def embed(texts: Sequence[str], *, model: str, askers: Sequence[OnBehalfOf]) -> Vector:
    """One float32 unit row a text; all askers are of one key. Raises EmbeddingFailed."""
    newest = askers[-1]
    tenant_id = newest.principal.tenant_id
    daily_budget = DailyBudget("embeddings", tenant_id, newest.snapshot.policy.cache.embed_usd_per_day)
    try:
        if not await daily_budget.has_room():
            EMBED_CALLS.labels("budget").inc()
            raise AllowanceSpent("embed_usd_per_day")
    except SpendUnknown as error:
        EMBED_CALLS.labels("no_redis").inc()
        raise EmbeddingFailed("it is not known what was spent") from error
    call, target = _call_for(texts, model, newest)
    call.receipt.note(
        STATE, "asked", texts=len(texts), for_requests=[str(asker.request_id) for asker in askers]
    )
    try:
        vectors = vectors_in(await _ask(call, target), count=len(texts))
    except EmbeddingFailed as error:
        EMBED_CALLS.labels("refused" if isinstance(error, EmbeddingRefused) else "failed").inc()
        raise
    finally:
        await daily_budget.note(own_calls.cost_of(call))
    EMBED_CALLS.labels("answered").inc()
    return vectors


async def _ask(call: Call, target: Target) -> bytes:
    try:
        answer = await pipeline.answer_ourselves(call, always(target), ONCE)
    except ProviderRejected as error:
        if error.code == "model_not_found":
            raise EmbeddingFailed(error.code) from error
        is_about_texts = error.upstream_status in STATUSES_OF_TEXTS
        raise (TextsRefused if is_about_texts else EmbeddingRefused)(error.code) from error
    except ProviderFailure as error:
        raise EmbeddingFailed(error.code) from error
    except ClientError as error:
        raise EmbeddingRefused(error.code) from error
    except Exception as error:
        log.exception("a call for vectors failed")
        raise EmbeddingFailed(type(error).__name__) from error
    return answer.body


def _call_for(texts: Sequence[str], model: str, asker: OnBehalfOf) -> tuple[Call, Target]:
    snapshot, target = _only(asker.snapshot, model)
    call = own_calls.own_call(
        state=STATE,
        endpoint="/v1/embeddings",
        wire=format_for("openai.embeddings"),
        body={"model": model, "input": list(texts)},
        principal=asker.principal,
        snapshot=snapshot,
    )
    return call, target


def _only(snapshot: TenantSnapshot, model: str) -> tuple[TenantSnapshot, Target]:
    """The snapshot with nothing in its catalog but this model, at the accounts that call it as the first one does, bounded
    in time.
    """
    first = snapshot.catalog.targets.get(model)
    if first is None:
        raise EmbeddingRefused("model_not_found")
    patience = {
        name: min(float(first.timeouts.get(name) or MOST_SECONDS), MOST_SECONDS)
        for name in ("first_byte", "total")
    }
    accounts = tuple(
        replace(
            account,
            timeouts=MappingProxyType({**account.timeouts, **patience}),
        )
        for account in snapshot.catalog.accounts_of(first)
        if account.upstream == first.upstream
    )
    return replace(snapshot, catalog=Catalog({model: accounts[0]}, {model: accounts})), accounts[0]


def vectors_in(body: bytes, *, count: int) -> Vector:
    """The vectors of an answer, checked and made unit vectors; raises EmbeddingFailed."""
    try:
        data = orjson.loads(body)["data"]
        if all("index" in one for one in data):
            data = sorted(data, key=lambda one: one["index"])
            if [one["index"] for one in data] != list(range(count)):
                raise ValueError("other texts than were asked")
        rows = np.array([one["embedding"] for one in data], np.float64)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise EmbeddingFailed("the answer has no vectors") from error
    if rows.ndim != 2 or len(rows) != count or not LEAST_DIMENSIONS <= rows.shape[1] <= MOST_DIMENSIONS:
        raise EmbeddingFailed(f"the vectors are of shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise EmbeddingFailed("a vector is not finite")
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths < _LEAST_LENGTH).any():
        raise EmbeddingFailed("a vector has no direction")
    vectors: Vector = (rows / lengths).astype(np.float32)
    return vectors
