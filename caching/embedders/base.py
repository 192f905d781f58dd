"""The interface of an embedder in the process, its vectors, and the folder of built models.

Invariant: a text's vector depends only on the text and the embedder's name, not on other texts or on the CPU (beyond the
seventh digit). The name includes the precision, because vectors of different precisions must not be compared.
"""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FOLDER = "minilm-l6-v2"
GRAPH = "fp32.onnx"
MANIFEST = "manifest.json"
MAX_TOKENS = 256
SHARED_TOKENS = 64  # a longer text has nothing of a run with others (docs/decisions/0046)

Vector = NDArray[np.float32]


class Embedder(Protocol):
    """What the cache needs from an embedder."""

    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Vector:
        """One float32 unit row per text. CPU-bound: call it in a thread."""
        ...

    def tokens_of(self, text: str) -> int:
        """How many tokens of the text are read, which is what it costs: at most MAX_TOKENS. Microseconds."""
        ...

    def truncates(self, text: str) -> bool:
        """Whether the text is longer than what the embedder reads. Microseconds."""
        ...


class EmbedderMissing(RuntimeError):
    """The model folder does not exist: `python -m caching.embedders.build` makes it."""


@cache
def model_dir() -> Path:
    """Where built models are: PURSER_MODEL_DIR, or `.models` next to the project's code."""
    return Path(os.environ.get("PURSER_MODEL_DIR") or Path(__file__).resolve().parents[2] / ".models")
