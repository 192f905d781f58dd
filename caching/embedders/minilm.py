"""Turns short texts into unit vectors inside the process.

Invariant: a text's vector depends on the text and the embedder's name alone, never on what else is embedded
at the moment, nor on the CPU; the event loop never waits for arithmetic. The name includes the precision, because
the vectors of two precisions must not be compared.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from caching.embedders.build import FOLDER, GRAPH, MANIFEST, MAX_TOKENS, model_dir
from tenants.policy import LOCAL_EMBEDDERS

Vector = NDArray[np.float32]


class Embedder(Protocol):
    """What the cache needs of an embedder."""

    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Vector:
        """One float32 unit row per text. CPU-bound: call it in a thread."""
        ...

    def truncates(self, text: str) -> bool:
        """Whether the text is longer than what the embedder reads. Microseconds."""
        ...


class EmbedderMissing(RuntimeError):
    """The model folder is not there: `python -m caching.embedders.build` makes it."""


class MiniLM:
    """MiniLM-L6 in fp32 through onnxruntime, on one thread. Loading takes about 0.3 s and 150 MB."""

    name = f"{FOLDER}/fp32"
    dimensions = 384

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def embed(self, texts: Sequence[str]) -> Vector:
        """Texts longer than 256 tokens are cut; ask `truncates` first."""
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        # One by one: texts of several lengths in one call are padded to the longest, which costs more than it wins.
        return np.concatenate([self._run(self.token_ids(text)) for text in texts])

    def truncates(self, text: str) -> bool:
        # A token has at least one byte, so most texts need no tokenizing to know.
        if len(text.encode()) <= MAX_TOKENS - 2:
            return False
        return len(text) > 20 * MAX_TOKENS or len(self._tokenizer.encode(text).ids) > MAX_TOKENS

    def token_ids(self, text: str) -> list[int]:
        """Token ids with the marks at both ends, at most 256."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]

    def _run(self, token_ids: list[int]) -> Vector:
        ids = np.array([token_ids], np.int64)
        vectors: Vector = self._session.run(None, {"ids": ids, "mask": np.ones_like(ids)})[0]
        return vectors


class BatchingEmbedder:
    """An embedder for async callers: the texts that wait at one time are embedded in one call of a worker
    thread.

    No timer: the next group forms while the last one is worked on. Equal texts are embedded once; the
    vectors of the last `kept` texts stay in memory (1.5 kB each). Belongs to one event loop at a time,
    whichever asks.
    """

    circuit = None  # those in the process share one
    patience_seconds = None

    def __init__(self, embedder: Embedder, *, kept: int = 4096, group_size: int = 32) -> None:
        self.embedder = embedder
        self._kept: OrderedDict[bytes, Vector] = OrderedDict()
        self._capacity = kept
        self._group_size = group_size
        self._waiting: dict[bytes, tuple[str, asyncio.Future[Vector]]] = {}
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")

    @property
    def name(self) -> str:
        return self.embedder.name

    def space_of(self, vector: Vector) -> str:
        """What the vector may be compared with: the embedder's name says it all."""
        return self.name

    def truncates(self, text: str) -> bool:
        """Whether the text is longer than what the embedder reads. Microseconds."""
        return self.embedder.truncates(text)

    def kept(self, text: str) -> Vector | None:
        """The text's vector if it is still in memory."""
        key = _key(text)
        if (vector := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return vector

    async def embed_one(self, text: str) -> Vector:
        """The text's unit vector. A caller that goes away does not disturb those who wait for the same
        text.
        """
        if (vector := self.kept(text)) is not None:
            return vector
        key = _key(text)
        loop = asyncio.get_running_loop()
        if self._worker is None or self._worker.done() or self._worker.get_loop() is not loop:
            self._waiting = {}
            self._worker = None
        _, future = self._waiting.setdefault(key, (text, loop.create_future()))
        if self._worker is None:
            self._worker = loop.create_task(self._work(self._waiting))
        return await asyncio.shield(future)

    async def _work(self, waiting: dict[bytes, tuple[str, "asyncio.Future[Vector]"]]) -> None:
        loop = asyncio.get_running_loop()
        while waiting:
            keys = list(waiting)[: self._group_size]
            texts = [waiting[key][0] for key in keys]
            try:
                vectors = await loop.run_in_executor(self._thread, self.embedder.embed, texts)
            except Exception as error:
                for key in keys:
                    future = waiting.pop(key)[1]
                    future.set_exception(error)
                    future.exception()  # seen: the callers may all have gone
                continue
            for key, vector in zip(keys, vectors, strict=True):
                waiting.pop(key)[1].set_result(vector)
                self._keep(key, vector)

    def _keep(self, key: bytes, vector: Vector) -> None:
        self._kept[key] = vector
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)


def _key(text: str) -> bytes:
    """Raises UnicodeEncodeError for text that is none: lone surrogates."""
    return blake2b(text.encode(), digest_size=16).digest()


_loading = threading.Lock()
_loaded: dict[Path, BatchingEmbedder] = {}


def minilm(*, folder: Path | None = None) -> BatchingEmbedder:
    """This process's MiniLM, loaded at the first call (blocks about 0.3 s). Raises EmbedderMissing."""
    folder = folder or model_dir() / FOLDER
    with _loading:
        if folder not in _loaded:
            if not (folder / MANIFEST).is_file():
                raise EmbedderMissing(f"{folder} is missing; python -m caching.embedders.build makes it")
            _loaded[folder] = BatchingEmbedder(MiniLM(folder))
        return _loaded[folder]


async def ready_embedder(choice: str) -> BatchingEmbedder:
    """The embedder in the process that a policy names; raises EmbedderMissing, for a name that is none as well."""
    if choice not in LOCAL_EMBEDDERS:
        raise EmbedderMissing(f"no embedder in the process is called {choice}")
    if choice != "wordllama":
        return await ready_minilm()
    return _light[0] if _light else await asyncio.to_thread(_load_light)


_light: list[BatchingEmbedder] = []


def _load_light() -> BatchingEmbedder:
    from caching.embedders.wordllama import WordLlama

    with _loading:
        if not _light:
            _light.append(BatchingEmbedder(WordLlama()))
        return _light[0]


async def ready_minilm() -> BatchingEmbedder:
    """The same from async code: once loaded it is there at once, the loading happens in a thread."""
    loaded = _loaded.get(model_dir() / FOLDER)
    return loaded if loaded is not None else await asyncio.to_thread(minilm)
