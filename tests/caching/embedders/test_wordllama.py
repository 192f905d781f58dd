"""The light embedder, and several embedders side by side while a tenant changes from one to another."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from caching.eligibility import Traits
from caching.embedders import wordllama
from caching.embedders.base import EmbedderMissing
from caching.embedders.registry import ready_embedder
from caching.embedders.wordllama import WordLlama
from caching.models import CacheEntry
from caching.scope import Origin
from caching.semantic import cache as semantic
from caching.semantic.other_embedders import remember_for_others
from tenants.models import Tenant
from tests.caching.material import STATIC, answer, ask

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("wordllama") is None,
    reason="there is no wheel of the light embedder for this machine",
)

ARRIVED = "My card has not arrived, what do I do?"
STILL = "My card still has not arrived. What should I do?"


@pytest.fixture(scope="module")
def light() -> WordLlama:
    return WordLlama()


def test_it_works(light: WordLlama) -> None:
    near, same, far = light.embed([ARRIVED, STILL, "Which currencies can I hold?"])
    assert near.shape == (256,)
    assert np.linalg.norm(near) == pytest.approx(1, abs=1e-5)
    assert near @ same > near @ far + 0.3


def test_it_is_what_the_package_itself_computes(light: WordLlama) -> None:
    """By the package's own formula: the mean of the tokens' vectors, no marks at the ends, then made a unit vector."""
    # the first components of wordllama 0.4.0.post1's own embed(..., norm=True)
    expected = [0.0552, 0.19506, -0.07015, 0.05819, 0.07515, -0.04947]
    assert light.embed([ARRIVED])[0][:6] == pytest.approx(expected, abs=1e-3)


def test_a_vector_does_not_depend_on_its_neighbours(light: WordLlama) -> None:
    together = light.embed([ARRIVED, "x " * 200])
    assert np.array_equal(together[0], light.embed([ARRIVED])[0])


def test_it_says_what_it_would_cut(light: WordLlama) -> None:
    assert not light.truncates(ARRIVED)
    assert light.truncates("word " * 300)


def test_other_files_than_the_published_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wordllama.SOURCES, "weights/l2_supercat_256.safetensors", "0" * 64)
    with pytest.raises(EmbedderMissing, match="published"):
        WordLlama()


@pytest.mark.usefixtures("orm_thread")
async def test_an_embedder_that_takes_over_finds_what_was_kept_for_it(origin: Origin, tenant: Tenant) -> None:
    before = replace(STATIC, also_embed_with=("wordllama", "minilm"))
    after = replace(STATIC, embedder="wordllama", threshold=0.6)
    found = await semantic.look_up(ask(ARRIVED), origin=origin, policy=before, traits=Traits())
    assert await semantic.remember(found, answer("Wait."), policy=before)
    assert await remember_for_others(found, answer("Wait."), policy=before) == 1
    names = {entry.embedder async for entry in CacheEntry.objects.filter(tenant=tenant)}
    assert names == {"minilm-l6-v2/fp32", wordllama.NAME}
    for policy in (before, after):
        hit = await semantic.look_up(ask(STILL), origin=origin, policy=policy, traits=Traits())
        assert hit.is_hit, policy.embedder
        assert hit.scope is not None
        assert hit.scope.embedder == (await ready_embedder(policy.embedder)).name


@pytest.mark.usefixtures("orm_thread")
async def test_entries_of_one_embedder_are_not_seen_by_another(origin: Origin) -> None:
    found = await semantic.look_up(ask(ARRIVED), origin=origin, policy=STATIC, traits=Traits())
    assert await semantic.remember(found, answer("Wait."), policy=STATIC)
    light = replace(STATIC, embedder="wordllama", threshold=0.5)
    other = await semantic.look_up(ask(ARRIVED), origin=origin, policy=light, traits=Traits())
    assert (other.reason, other.candidates) == ("empty", ())
