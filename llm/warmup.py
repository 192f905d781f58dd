"""Loads what the first call needs, before it comes: the embedder and the tokenizer's vocabulary.

Invariant: a warm-up that fails costs the first call some time, and nothing else. Celery's processes load what their own work
needs: 300 MB that most never use.
"""

import asyncio

import structlog

from caching.embedders.base import EmbedderMissing
from caching.embedders.registry import ready_minilm
from config import resources
from config.database import logins
from llm.tokens.counting import count_text

log = structlog.get_logger(__name__)


@resources.service
async def warm_up() -> None:
    """Load both in threads, in parallel with the start."""
    if logins.of_process() == logins.WORKER:
        return
    try:
        await asyncio.gather(ready_minilm(), asyncio.to_thread(count_text, "warm", "gpt-4o"))
    except EmbedderMissing as error:
        log.warning("embedder_missing", reason=str(error))
