"""The sandbox's process: on its own, quick to say no, and gone when told."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.llm.sandbox.conftest import ROOT, Provider, start

IMPORTED = "import json, sys; import llm.sandbox.server; print(json.dumps(list(sys.modules)))"
OURS = {"django", "config", "tenants", "billing", "caching", "llm"}


def test_it_works(provider: Provider) -> None:
    with urllib.request.urlopen(f"{provider.url}/healthz") as answer:
        assert json.load(answer)["status"] == "ok"


def test_it_imports_nothing_of_the_product_but_the_tokens() -> None:
    output = subprocess.check_output([sys.executable, "-c", IMPORTED], cwd=ROOT, text=True)
    modules = {name for name in json.loads(output) if name.split(".")[0] in OURS}
    others = {name for name in modules if not name.startswith("llm.sandbox")}
    assert others == {
        "llm",
        "llm.tokens",
        "llm.tokens.counting",
        "llm.tokens.vocabularies",
        "llm.tokens.images",
    }


def test_it_ends_at_once_with_streams_open() -> None:
    process, url = start("--tokens-per-second", "1")
    provider = Provider(url, "sk-open")
    stream = provider.openai().chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Write an essay."}], stream=True
    )
    next(iter(stream))
    process.terminate()
    assert process.wait(10) == 0


def test_a_paced_stream_makes_no_tokens_ahead_of_its_client() -> None:
    process, url = start("--tokens-per-second", "20")
    try:
        own = Provider(url, "sk-pace")
        stream = own.openai().chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Write 300 words on rivers."}], stream=True
        )
        for _, _chunk in zip(range(4), stream, strict=False):
            pass
        stream.close()
        for _ in range(200):
            call = own.only_call()
            if call["status"] is not None:
                break
        assert call["billed"]["output"] < 100
    finally:
        process.terminate()
        process.wait(10)


def test_a_bad_body_is_a_400_and_a_bad_path_a_404(provider: Provider) -> None:
    expected = (("/v1/chat/completions", b"{", 400), ("/v1/responses", b"[]", 400), ("/v2", b"", 404))
    for path, body, status in expected:
        request = urllib.request.Request(
            f"{provider.url}{path}", data=body, headers={"authorization": f"Bearer {provider.key}"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        assert (caught.value.code, "message" in json.load(caught.value)["error"]) == (status, True)


def test_models_give_the_answers_that_were_ordered_until_a_reset() -> None:
    process, url = start()
    try:
        own = Provider(url, "sk-known")
        messages = [{"role": "user", "content": "How long is the Nile?"}]
        assert own.control("answers", {"How long is the Nile?": "It is 6,650 km long."}) == {"known": 1}

        def ask(model: str) -> str:
            completion = own.openai().chat.completions.create(model=model, messages=messages)
            return completion.choices[0].message.content

        assert {ask("gpt-4o"), ask("gpt-4.1-nano")} == {"It is 6,650 km long."}
        message = own.anthropic().messages.create(model="claude-haiku-4-5", messages=messages, max_tokens=50)
        assert message.content[0].text == "It is 6,650 km long."
        with pytest.raises(urllib.error.HTTPError, match="400"):
            own.control("answers", {"How long is the Rhine?": 1230})
        own.control("reset", {})
        assert ask("gpt-4o") != "It is 6,650 km long."
    finally:
        process.terminate()
        process.wait(10)


def test_a_model_without_a_cheaper_cached_token_has_no_cache(provider: Provider) -> None:
    messages = [{"role": "system", "content": "Be kind. " * 500}, {"role": "user", "content": "Hello?"}]
    for model, is_cached in (("gpt-4o", True), ("gpt-4-turbo", False)):
        for _ in range(2):
            usage = provider.openai().chat.completions.create(model=model, messages=messages).usage
        assert bool(usage.prompt_tokens_details.cached_tokens) is is_cached
