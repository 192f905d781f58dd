"""Owns `/v1/embeddings`.

Invariant: equal texts get equal unit vectors, and texts that share words and letters get vectors that
point alike.
"""

import base64
import functools
import hashlib
import itertools
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from aiohttp import web

from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import Exchange
from llm.sandbox.openai.completions import decoded
from llm.sandbox.usage import Usage
from llm.sandbox.validation import model_of, whole_number
from llm.tokens import counting

MOST_INPUTS = 2_048
MOST_TOKENS = 8_192
WORD_WEIGHT, PAIR_WEIGHT, LETTERS_WEIGHT = 1.0, 0.5, 0.35
PLACES_PER_FEATURE = 4


async def create_embeddings(exchange: Exchange) -> web.StreamResponse:
    """POST /v1/embeddings."""
    body = exchange.body
    model = model_of(exchange)
    texts = _texts(body.get("input"), model)
    size = 3_072 if "3-large" in model else 1_536
    asked = whole_number(body, "dimensions", least=1, most=size)
    if asked is not None and "ada-002" in model:
        raise ProviderError(400, "This model does not support specifying dimensions.", param="dimensions")
    input_tokens = counting.count_prompt(body["input"], model)
    wants_base64 = body.get("encoding_format") == "base64"
    usage = Usage(input=input_tokens)
    data = []
    for index, text in enumerate(texts):
        vector = vector_of(text, asked or size)
        embedding: Any = base64.b64encode(vector.tobytes()).decode() if wants_base64 else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    payload = {"object": "list", "data": data, "model": model, "usage": usage.embeddings()}
    return await exchange.answer(payload, usage=usage)


@functools.lru_cache(maxsize=2_048)
def vector_of(text: str, size: int) -> npt.NDArray[np.float32]:
    """A unit vector of hashed words, pairs of words and groups of three letters."""
    vector = np.zeros(size, dtype=np.float32)
    words = re.findall(r"\w+", text.lower()) or [text]
    for feature, weight in _features(words):
        digest = hashlib.blake2b(
            feature.encode("utf-8", "replace"), digest_size=4 * PLACES_PER_FEATURE
        ).digest()
        for place in range(PLACES_PER_FEATURE):
            number = int.from_bytes(digest[4 * place : 4 * place + 4], "little")
            vector[(number >> 1) % size] += weight if number & 1 else -weight
    length = float(np.linalg.norm(vector))
    if not length:
        vector[0] = length = 1.0
    return vector / np.float32(length)


def _features(words: list[str]) -> list[tuple[str, float]]:
    features = [(f"w:{word}", WORD_WEIGHT) for word in words]
    features += [(f"p:{left} {right}", PAIR_WEIGHT) for left, right in itertools.pairwise(words)]
    for word in words:
        padded = f"^{word}$"
        features += [(f"l:{padded[i : i + 3]}", LETTERS_WEIGHT) for i in range(max(1, len(padded) - 2))]
    return features


def _texts(given: Any, model: str) -> list[str]:
    if isinstance(given, str) or (isinstance(given, list) and given and isinstance(given[0], int)):
        given = [given]
    if not isinstance(given, list) or not given:
        raise ProviderError(400, "'$.input' is invalid. Please check the API reference.", param="input")
    if len(given) > MOST_INPUTS:
        raise ProviderError(400, f"'$.input' may have at most {MOST_INPUTS} items.", param="input")
    texts = [item if isinstance(item, str) else decoded(item, model) for item in given]
    for text in texts:
        if not text:
            raise ProviderError(400, "'$.input' cannot be an empty string.", param="input")
        if (counted := counting.count_text(text, model)) > MOST_TOKENS:
            raise ProviderError(
                400,
                f"This model's maximum context length is {MOST_TOKENS} tokens, however you requested "
                f"{counted} tokens. Please reduce your prompt.",
                code="context_length_exceeded",
            )
    return texts
