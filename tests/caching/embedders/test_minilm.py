"""The local embedder: the published model's vectors on every CPU, whoever else is being embedded."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from caching.embedders.base import FOLDER, GRAPH, MANIFEST, EmbedderMissing, Vector, model_dir
from caching.embedders.batching import BatchingEmbedder
from caching.embedders.build import build, is_built
from caching.embedders.minilm import MiniLM, runs_of
from caching.embedders.registry import load_minilm, ready_embedder
from caching.embedders.waiting import QueueFull

TEXTS = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
# What sentence-transformers prints for these three.
SIMILARITIES = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]


class CountingMiniLM(MiniLM):
    """The real embedder, with a memory of the groups it was given."""

    def __init__(self) -> None:
        super().__init__(model_dir() / FOLDER)
        self.groups: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> Vector:
        self.groups.append(list(texts))
        return super().embed(texts)


@pytest.fixture(scope="module")
def loaded() -> MiniLM:
    return MiniLM(model_dir() / FOLDER)


def test_it_works(loaded: MiniLM) -> None:
    vectors = loaded.embed(TEXTS)
    assert vectors.shape == (3, loaded.dimensions)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors @ vectors.T, SIMILARITIES, atol=1e-4)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert loaded.name == "minilm-l6-v2/fp32"


def test_every_cpu_gives_the_stored_vectors(loaded: MiniLM) -> None:
    """Vectors in a database outlive the CPU that made them. These were made on one with AVX2 and without VNNI."""
    with np.load(Path(__file__).parent / "data" / "minilm_vectors.npz") as stored:
        texts, expected = [str(text) for text in stored["texts"]], stored["vectors"]
    vectors = loaded.embed(texts)
    assert np.allclose(vectors, expected, atol=2e-6)
    assert np.allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-5)


def test_a_vector_does_not_depend_on_its_neighbours(loaded: MiniLM) -> None:
    """Not beyond the digits in which CPUs differ; the shorter of a group are padded."""
    texts = [*TEXTS, "Hi", "word " * 200, "My card has not arrived, what do I do?", "한 한 한"]
    together = loaded.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.allclose(loaded.embed([text])[0], vector, atol=2e-6)


def test_texts_of_about_one_length_share_a_run_and_long_ones_do_not() -> None:
    assert list(runs_of([5, 27, 8, 3, 30, 64, 65, 65])) == [[0, 2, 3], [1, 4], [5], [6], [7]]
    assert list(runs_of([])) == []


def test_no_texts_give_no_vectors(loaded: MiniLM) -> None:
    assert loaded.embed([]).shape == (0, 384)


@pytest.mark.parametrize(
    ("text", "is_truncated"),
    [
        ("short", False),
        ("word " * 250, False),
        ("word " * 255, True),
        ("x" * 300, False),
        ("!" * 300, True),
        ("한 " * 100, True),
        ("a " * 100_000, True),
    ],
)
def test_it_knows_what_it_would_truncate(loaded: MiniLM, text: str, is_truncated: bool) -> None:
    assert loaded.truncates(text) == is_truncated
    if not is_truncated:
        assert len(loaded.token_ids(text)) <= 256


async def test_texts_that_wait_together_are_embedded_together_and_once() -> None:
    counting = CountingMiniLM()
    embedder = BatchingEmbedder(counting)
    vectors = await asyncio.gather(*(embedder.embed_one(text, tenant_id=1) for text in TEXTS * 4))
    assert sorted(text for group in counting.groups for text in group) == sorted(TEXTS)
    assert len(counting.groups) <= 2
    for text, vector in zip(TEXTS * 4, vectors, strict=True):
        assert np.allclose(vector, counting.embed([text])[0], atol=2e-6)


async def test_a_vector_stays_in_memory_until_newer_ones_push_it_out() -> None:
    counting = CountingMiniLM()
    embedder = BatchingEmbedder(counting, kept=2)
    for text in (TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2], TEXTS[0], TEXTS[1]):
        await embedder.embed_one(text, tenant_id=1)
    assert counting.groups == [[TEXTS[0]], [TEXTS[1]], [TEXTS[2]], [TEXTS[1]]]


async def test_a_caller_that_hangs_up_disturbs_nobody() -> None:
    embedder = BatchingEmbedder(CountingMiniLM())
    first, second = (asyncio.create_task(embedder.embed_one(TEXTS[0], tenant_id=1)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).shape == (384,)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_text_whose_callers_are_gone_is_not_begun() -> None:
    counting = CountingMiniLM()
    embedder = BatchingEmbedder(counting, group_texts=1)
    tasks = [asyncio.create_task(embedder.embed_one(text, tenant_id=1)) for text in TEXTS]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert counting.groups == [[TEXTS[0]], [TEXTS[2]]]


async def test_what_one_tenant_has_asked_makes_no_other_ones_text_faster() -> None:
    counting = CountingMiniLM()
    embedder = BatchingEmbedder(counting)
    await embedder.embed_one(TEXTS[0], tenant_id=1)
    assert embedder.kept(TEXTS[0], tenant_id=1) is not None
    assert embedder.kept(TEXTS[0], tenant_id=2) is None
    await embedder.embed_one(TEXTS[0], tenant_id=2)
    assert counting.groups == [[TEXTS[0]], [TEXTS[0]]]


class FailingMiniLM(CountingMiniLM):
    """Fails with every group that holds a certain text."""

    def embed(self, texts: Sequence[str]) -> Vector:
        vectors = super().embed(texts)
        if TEXTS[1] in texts:
            raise ValueError("not this one")
        return vectors


async def test_a_text_that_fails_fails_no_other() -> None:
    embedder = BatchingEmbedder(FailingMiniLM(), gather_seconds=0.01)
    outcomes = await asyncio.gather(
        *(embedder.embed_one(text, tenant_id=1) for text in TEXTS), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [np.ndarray, ValueError, np.ndarray]


async def test_a_tenant_with_too_many_texts_is_refused_and_another_one_is_not() -> None:
    embedder = BatchingEmbedder(CountingMiniLM())
    many = [f"question number {number} of one tenant" for number in range(200)]
    flood = asyncio.gather(*(embedder.embed_one(text, tenant_id=1) for text in many), return_exceptions=True)
    await asyncio.sleep(0)
    assert (await embedder.embed_one(TEXTS[0], tenant_id=2)).shape == (384,)
    outcomes = await flood
    assert {type(outcome) for outcome in outcomes} == {np.ndarray, QueueFull}


async def test_text_that_is_none_fails_its_own_caller_only() -> None:
    embedder = BatchingEmbedder(CountingMiniLM())
    good, bad = await asyncio.gather(
        embedder.embed_one(TEXTS[0], tenant_id=1),
        embedder.embed_one("\ud800", tenant_id=1),
        return_exceptions=True,
    )
    assert isinstance(good, np.ndarray)
    assert isinstance(bad, UnicodeEncodeError)


def test_one_embedder_serves_one_event_loop_after_another() -> None:
    embedder = BatchingEmbedder(CountingMiniLM())
    for text in TEXTS:
        assert asyncio.run(embedder.embed_one(text, tenant_id=1)).shape == (384,)


def test_building_again_changes_nothing() -> None:
    folder = model_dir() / FOLDER
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert build() == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_damaged_build_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    shutil.copytree(model_dir() / FOLDER, folder)
    (folder / GRAPH).write_bytes(b"")
    assert not is_built(folder)
    build(tmp_path)
    assert is_built(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["least_cosine_to_reference"] >= 0.99999
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [FOLDER]


def test_a_missing_build_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(EmbedderMissing, match=r"embedders\.build"):
        load_minilm(folder=tmp_path / FOLDER)


async def test_a_name_that_is_none_of_ours_is_no_embedder() -> None:
    with pytest.raises(EmbedderMissing, match="nobody"):
        await ready_embedder("nobody")
