"""What clients write for an address, and what it means."""

import pytest

from config.door.paths import Address, address_of


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat//completions//", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/models", "/v1/models"),
        ("/openai/v1/responses", "/v1/responses"),
        ("/openai/responses", "/v1/responses"),
        ("/v1", "/v1"),
        ("/v1/", "/v1"),
        ("/v1/nothing/here", "/v1/nothing/here"),
    ],
)
def test_it_works(written: str, path: str) -> None:
    assert address_of(written) == Address(path)
    assert address_of(written).is_of_the_api


@pytest.mark.parametrize(
    "path",
    ["/", "/admin/", "/admin/llm/batch/", "/docs", "/v10/models", "/chat", "/modelsheet", "/metrics", "//"],
)
def test_other_pages_keep_their_addresses(path: str) -> None:
    assert address_of(path) == Address(path)
    assert not address_of(path).is_of_the_api


def test_azures_addresses_name_a_model() -> None:
    assert address_of("/openai/deployments/gpt-4o/chat/completions") == Address(
        "/v1/chat/completions", "gpt-4o"
    )
    assert address_of("//openai/deployments/e/embeddings/") == Address("/v1/embeddings", "e")
    assert not address_of("/openai/deployments/gpt-4o").is_of_the_api
    assert not address_of("/openai/deployments/a/b/c").is_of_the_api
