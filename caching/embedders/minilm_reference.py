"""MiniLM-L6 in plain numpy: the reference for the built graphs.

Invariant: plain arithmetic from the published weights, sharing no code with the graph. Slow, used at build
time only.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_erf = np.vectorize(math.erf, otypes=[np.float32])


def reference_vector(weights: Mapping[str, Array], ids: list[int]) -> Array:
    """The unit vector of one text, given its token ids with [CLS] and [SEP], without padding."""

    def dense(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Array, name: str) -> Array:
        centered = x - x.mean(-1, keepdims=True)
        scaled = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + np.float32(1e-12))
        return np.asarray(scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"], np.float32)

    def heads(x: Array) -> Array:
        return x.reshape(len(ids), 12, 32).transpose(1, 0, 2)

    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(6):
        own = f"encoder.layer.{layer}."
        query, key, value = (
            heads(dense(x, f"{own}attention.self.{part}")) for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(32)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(len(ids), 384)
        x = norm(x + dense(mixed, f"{own}attention.output.dense"), f"{own}attention.output.LayerNorm")
        wide = dense(x, f"{own}intermediate.dense")
        wide = wide * np.float32(0.5) * (1 + _erf(wide / math.sqrt(2)))
        x = norm(x + dense(wide, f"{own}output.dense"), f"{own}output.LayerNorm")
    pooled = x.mean(0)
    return np.asarray(pooled / np.linalg.norm(pooled), np.float32)
