"""MiniLM-L6, the default embedder.

Invariant: fp32 only, on one thread: other precisions give other vectors on other CPUs.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from caching.embedders.base import FOLDER, GRAPH, MAX_TOKENS, SHARED_TOKENS, Vector

BUCKET_TOKENS = 8  # texts of one run differ by less


class MiniLM:
    """MiniLM-L6 in fp32 through onnxruntime, on one thread. Loading takes about 0.3 s and 150 MB."""

    name = f"{FOLDER}/fp32"
    dimensions = 384

    def __init__(self, folder: Path) -> None:
        import onnxruntime  # noqa: PLC0415 heavy, and only for this embedder
        from tokenizers import Tokenizer  # noqa: PLC0415 heavy, and only for this embedder

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def embed(self, texts: Sequence[str]) -> Vector:
        """Texts longer than 256 tokens are cut: check `truncates` first."""
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        token_ids = [self.token_ids(text) for text in texts]
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for places in runs_of([len(ids) for ids in token_ids]):
            vectors[places] = self._run([token_ids[place] for place in places])
        return vectors

    def tokens_of(self, text: str) -> int:
        return len(self.token_ids(text[: 20 * MAX_TOKENS]))

    def truncates(self, text: str) -> bool:
        # A token has at least one byte, so most texts need no tokenizing to know.
        if len(text.encode()) <= MAX_TOKENS - 2:
            return False
        return len(text) > 20 * MAX_TOKENS or len(self._tokenizer.encode(text).ids) > MAX_TOKENS

    def token_ids(self, text: str) -> list[int]:
        """Token ids with the marks at both ends, at most 256."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]

    def _run(self, texts: Sequence[list[int]]) -> Vector:
        ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
        mask = np.zeros_like(ids)
        for place, text in enumerate(texts):
            ids[place, : len(text)], mask[place, : len(text)] = text, 1
        vectors: Vector = self._session.run(None, {"ids": ids, "mask": mask})[0]
        return vectors


def runs_of(lengths: Sequence[int]) -> Iterable[list[int]]:
    """Which texts share a run of the model: those of about one length, of which the shorter ones are padded a little.

    Weights are read once a run, so that short texts cost up to a third of what they do alone; long ones cost more together.
    """
    buckets: dict[tuple[int, int], list[int]] = {}
    for place, length in enumerate(lengths):
        alone = place if length > SHARED_TOKENS else -1
        buckets.setdefault((-(-length // BUCKET_TOKENS), alone), []).append(place)
    return buckets.values()
