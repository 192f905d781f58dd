"""The SDKs' embeddings and models against the sandbox."""

import math

import anthropic
import numpy as np
import openai
import pytest

from tests.llm.sandbox.conftest import Provider


def vectors(provider: Provider, *texts: str, **options) -> list[np.ndarray]:
    answer = provider.openai().embeddings.create(model="text-embedding-3-small", input=list(texts), **options)
    return [np.array(item.embedding) for item in answer.data]


def test_it_works(provider: Provider) -> None:
    answer = provider.openai().embeddings.create(model="text-embedding-3-small", input="Where is my card?")
    assert len(answer.data[0].embedding) == 1_536
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 5
    assert provider.only_call()["billed"] == {"input": 5}


def test_similar_texts_have_similar_unit_vectors(provider: Provider) -> None:
    card, same, like, other = vectors(
        provider, "Where is my card?", "Where is my card?", "where is my new card", "Bake bread for two hours"
    )
    assert math.isclose(float(np.linalg.norm(card)), 1, abs_tol=1e-5)
    assert (card == same).all()
    assert card @ like > 0.6 > 0.2 > card @ other


def test_floats_and_base64_and_dimensions_agree(provider: Provider) -> None:
    (as_base64,) = vectors(provider, "Hello", dimensions=256)
    (as_floats,) = vectors(provider, "Hello", dimensions=256, encoding_format="float")
    assert len(as_base64) == 256
    assert np.allclose(as_base64, as_floats)


def test_tokens_are_texts_too(provider: Provider) -> None:
    client = provider.openai()
    by_tokens = client.embeddings.create(model="text-embedding-3-small", input=[9906, 1917])
    by_text = client.embeddings.create(model="text-embedding-3-small", input="Hello world")
    assert by_tokens.data[0].embedding == by_text.data[0].embedding
    assert by_tokens.usage == by_text.usage


def test_bad_inputs_are_refused(provider: Provider) -> None:
    for given in ("", [], ["ok", ""], "word " * 9_000):
        with pytest.raises(openai.BadRequestError):
            provider.openai().embeddings.create(model="text-embedding-3-small", input=given)


def test_models_are_listed_in_either_format(provider: Provider) -> None:
    names = {model.id for model in provider.openai().models.list()}
    assert {"gpt-4.1-nano", "gpt-4o-mini", "gpt-4o", "claude-haiku-4-5", "text-embedding-3-small"} <= names
    assert provider.openai().models.retrieve("gpt-4o").owned_by == "openai"
    assert {model.id for model in provider.anthropic().models.list()} >= {
        "claude-haiku-4-5",
        "claude-sonnet-4-5",
    }
    assert provider.anthropic().models.retrieve("claude-haiku-4-5").type == "model"


def test_an_unknown_model_is_a_404(provider: Provider) -> None:
    with pytest.raises(openai.NotFoundError):
        provider.openai().models.retrieve("gpt-unheard-of")
    with pytest.raises(anthropic.NotFoundError):
        provider.anthropic().models.retrieve("claude-unheard-of")
