"""The embedders of this process, each loaded once.

Invariant: a model is loaded at its first use, in a thread.
"""

import asyncio
import threading
from pathlib import Path

from caching.embedders.base import FOLDER, MANIFEST, EmbedderMissing, model_dir
from caching.embedders.batching import BatchingEmbedder
from caching.embedders.minilm import MiniLM
from caching.embedders.wordllama import WordLlama
from tenants.policy import LOCAL_EMBEDDERS

_loading = threading.Lock()
_loaded: dict[Path, BatchingEmbedder] = {}


def load_minilm(*, folder: Path | None = None) -> BatchingEmbedder:
    """This process's MiniLM, loaded at the first call (blocks about 0.3 s). Raises EmbedderMissing."""
    folder = folder or model_dir() / FOLDER
    with _loading:
        if folder not in _loaded:
            if not (folder / MANIFEST).is_file():
                raise EmbedderMissing(f"{folder} is missing; python -m caching.embedders.build makes it")
            _loaded[folder] = BatchingEmbedder(MiniLM(folder))
        return _loaded[folder]


async def ready_embedder(choice: str) -> BatchingEmbedder:
    """The local embedder that a policy names. Raises EmbedderMissing, also for an unknown name."""
    if choice not in LOCAL_EMBEDDERS:
        raise EmbedderMissing(f"no embedder in the process is called {choice}")
    if choice != "wordllama":
        return await ready_minilm()
    return _light[0] if _light else await asyncio.to_thread(_load_light)


_light: list[BatchingEmbedder] = []


def _load_light() -> BatchingEmbedder:
    with _loading:
        if not _light:
            _light.append(BatchingEmbedder(WordLlama()))
        return _light[0]


async def ready_minilm() -> BatchingEmbedder:
    """The same for async code: loads it in a thread the first time, then returns immediately."""
    loaded = _loaded.get(model_dir() / FOLDER)
    return loaded if loaded is not None else await asyncio.to_thread(load_minilm)
