"""The light embedder: the mean of static token vectors. Forty times as fast as MiniLM, and less exact.

Invariant: tokenizer and vectors are the published files in the wheel `wordllama`; without them there is no such
embedder. The package itself is never imported. It finds candidates well; each scope learns which of them are wrong.
"""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from caching.embedders.base import EmbedderMissing, Vector

NAME = "wordllama-256/fp16"
MAX_TOKENS = 256
_WHEEL = "wordllama"
SOURCES = {
    "tokenizers/l2_supercat_tokenizer_config.json": "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
    "weights/l2_supercat_256.safetensors": "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
}


class WordLlama:
    """Static token vectors of 256 dimensions, normalised after the mean. Loading takes 0.2 s and 50 MB."""

    name = NAME
    dimensions = 256

    def __init__(self) -> None:
        from safetensors.numpy import load_file  # noqa: PLC0415 heavy, and only for this embedder
        from tokenizers import Tokenizer  # noqa: PLC0415 heavy, and only for this embedder

        tokenizer, weights = (_source(name) for name in SOURCES)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        [self._vectors] = load_file(weights).values()

    def embed(self, texts: Sequence[str]) -> Vector:
        """Texts longer than 256 tokens are cut: check `truncates` first."""
        rows = [self._vectors[self._ids(text)[:MAX_TOKENS]].astype(np.float32) for text in texts]
        means = np.stack([row.mean(0) if len(row) else np.ones(self.dimensions, np.float32) for row in rows])
        unit: Vector = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit

    def tokens_of(self, text: str) -> int:
        return 1 + min(len(text) // 20, MAX_TOKENS - 1)  # sixty times as fast as MiniLM

    def truncates(self, text: str) -> bool:
        # A token has at least one byte, so most texts need no tokenizing to know.
        if len(text.encode()) <= MAX_TOKENS:
            return False
        return len(text) > 20 * MAX_TOKENS or len(self._ids(text)) > MAX_TOKENS

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _source(name: str) -> Path:
    found = importlib.util.find_spec(_WHEEL)  # finds the package without importing it, and what it would need
    if found is None or not found.submodule_search_locations:
        raise EmbedderMissing(
            "the wheel wordllama is not installed: pip install --no-deps -r requirements-weights.txt"
        )
    path = Path(found.submodule_search_locations[0]) / name
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SOURCES[name]:
        raise EmbedderMissing(f"{path} is not the published file")
    return path
