"""Token counts: the published framing exactly, the approximations upwards, and no input that stalls them."""

import base64
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from llm.tokens import counting, vocabularies
from llm.tokens.images import anthropic_image_tokens, openai_image_tokens

ROOT = Path(__file__).resolve().parents[3]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def chat(*contents: object, **body: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content} for content in contents]} | body


def png(width: int, height: int) -> str:
    header = struct.pack(">I4sII", 13, b"IHDR", width, height)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + header + b"\x08\x02\x00\x00\x00").decode()


def test_it_works() -> None:
    assert counting.count_text("Hello world", "gpt-4o") == 2
    assert counting.count_chat(chat("Hello world"), "gpt-4o") == 3 + 1 + 2 + 3


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("o3", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-turbo", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("claude-haiku-4-5", "o200k_base"),
        ("a-model-of-tomorrow", "o200k_base"),
    ],
)
def test_each_model_has_its_vocabulary(model: str, encoding: str) -> None:
    assert counting.encoding_for(model).name == encoding


def test_the_published_example_of_openai_is_matched() -> None:
    """The messages of OpenAI's cookbook on counting tokens, for which the API reported 124 tokens."""
    messages = [
        {
            "role": "system",
            "content": "You are a helpful, pattern-following assistant that translates "
            "corporate jargon into plain English.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "New synergies will help drive top-line growth.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Things working well together will increase revenue.",
        },
        {
            "role": "system",
            "name": "example_user",
            "content": "Let's circle back when we have more bandwidth to touch base "
            "on opportunities for increased leverage.",
        },
        {
            "role": "system",
            "name": "example_assistant",
            "content": "Let's talk later when we're less busy about how to do better.",
        },
        {
            "role": "user",
            "content": "This late pivot means we don't have time "
            "to boil the ocean for the client deliverable.",
        },
    ]
    assert counting.count_chat({"messages": messages}, "gpt-4o") == 124
    assert counting.count_chat({"messages": messages}, "gpt-4") == 129


@given(st.text(max_size=300))
def test_any_text_has_a_count_and_special_tokens_are_text(text: str) -> None:
    encoding = counting.encoding_for("gpt-4o")
    assert counting.count_text(text, "gpt-4o") == len(encoding.encode_ordinary(text))
    assert counting.count_text(f"{text} <|endoftext|>", "gpt-4o") > 5


WORDS = st.lists(st.text(alphabet="ab é漢\n.7", min_size=1, max_size=9), max_size=9)


@given(WORDS, st.sampled_from("a7é漢"), st.integers(2_000, 9_000))
def test_cutting_a_long_text_into_chunks_changes_no_token(words: list[str], word: str, times: int) -> None:
    text = " ".join([*words, word] * (times // (len(words) + 1)))
    assert counting.count_text(text, "gpt-4o") == len(counting.encoding_for("gpt-4o").encode_ordinary(text))


@pytest.mark.parametrize("run", ["a", " ", "=", "\n", "漢", "1", "\ud800"])
def test_a_million_characters_in_one_run_are_counted(run: str) -> None:
    assert 0 < counting.count_text(run * 1_000_000, "gpt-4o") <= 3_000_000


def test_every_part_of_a_chat_adds_tokens() -> None:
    plain = counting.count_chat(chat("Hello"), "gpt-4o")
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    assert counting.count_chat(chat("Hello", tools=[TOOL]), "gpt-4o") > plain + 20
    assert counting.count_chat(chat("Hello", response_format=schema), "gpt-4o") > plain + 10
    assert counting.count_chat(chat("Hello", "Hello"), "gpt-4o") == 2 * plain - 3
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'},
    }
    called = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert counting.count_chat(called, "gpt-4o") > 15
    assert counting.count_chat(chat([{"type": "text", "text": "Hello"}]), "gpt-4o") == plain


def test_responses_count_like_chat() -> None:
    as_text = counting.count_responses({"input": "Hello", "instructions": "Be brief."}, "gpt-4o")
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]
    assert counting.count_responses({"input": items, "instructions": "Be brief."}, "gpt-4o") == as_text
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert counting.count_chat({"messages": messages}, "gpt-4o") == as_text


@pytest.mark.parametrize(
    ("width", "height", "detail", "counted"),
    [
        (512, 512, "high", 85 + 170),
        (1024, 1024, "high", 765),
        (2048, 4096, "high", 1105),
        (4096, 8192, "low", 85),
    ],
)
def test_images_follow_the_published_tile_rule(width: int, height: int, detail: str, counted: int) -> None:
    url = f"data:image/png;base64,{png(width, height)}"
    assert openai_image_tokens({"url": url, "detail": detail}, "gpt-4o") == counted


def test_an_image_of_unknown_size_counts_as_the_largest() -> None:
    largest = openai_image_tokens({"url": f"data:image/png;base64,{png(2048, 768)}"}, "gpt-4o")
    assert openai_image_tokens({"url": "https://example.com/cat.png"}, "gpt-4o") == largest == 85 + 8 * 170
    assert openai_image_tokens("data:image/png;base64,!!!", "gpt-4o") == largest
    assert openai_image_tokens({"url": "https://example.com/cat.png"}, "gpt-4o-mini") > largest
    assert anthropic_image_tokens({"type": "url", "url": "https://example.com/cat.png"}) == 1_600


def test_anthropic_images_count_their_pixels() -> None:
    assert anthropic_image_tokens({"type": "base64", "data": png(200, 200)}) == 54
    assert anthropic_image_tokens({"type": "base64", "data": png(9_000, 9_000)}) == 1_600


def test_sizes_are_read_from_jpeg_gif_and_webp() -> None:
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 300, 150) + bytes(9)
    gif = b"GIF89a" + struct.pack("<HH", 150, 300) + bytes(9)
    webp = (
        b"RIFF\0\0\0\0WEBPVP8X"
        + bytes(8)
        + (149).to_bytes(3, "little")
        + (299).to_bytes(3, "little")
        + bytes(9)
    )
    for image in (jpeg, gif, webp):
        data = base64.b64encode(image).decode()
        assert anthropic_image_tokens({"type": "base64", "data": data}) == 60


def test_messages_count_system_tools_blocks_and_documents() -> None:
    plain = counting.count_messages(chat("Hello"), "claude-haiku-4-5")
    assert counting.count_messages(chat("Hello", system="Be brief."), "claude-haiku-4-5") > plain
    tool = {"name": "get_weather", "input_schema": {"type": "object"}}
    assert counting.count_messages(chat("Hello", tools=[tool]), "claude-haiku-4-5") > plain + 346
    document = {"type": "document", "source": {"type": "base64", "data": "A" * 80_000}}
    assert counting.count_messages(chat([document]), "claude-haiku-4-5") >= 6_000
    result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "18 degrees"}]}
    assert counting.count_messages(chat([result]), "claude-haiku-4-5") > 10


def test_claude_counts_more_than_the_same_text_for_openai() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 20
    older, newer = (counting.count_text(text, model) for model in ("claude-haiku-4-5", "claude-sonnet-5"))
    assert counting.count_text(text, "gpt-4o") < older < newer


def test_embedding_inputs_may_be_texts_or_tokens() -> None:
    assert counting.count_prompt("Hello world", "text-embedding-3-small") == 2
    assert counting.count_prompt(["Hello world", "Hi"], "text-embedding-3-small") == 3
    assert counting.count_prompt([1, 2, 3], "text-embedding-3-small") == 3
    assert counting.count_prompt([[1, 2], [3]], "text-embedding-3-small") == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "tools", "source", "image_url", "input", "name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "input", "system", "tools", "response_format", "text"]), JSON
    )
)
def test_no_body_however_odd_raises(body: dict[str, object]) -> None:
    for count in (counting.count_chat, counting.count_responses, counting.count_messages):
        assert count(body, "gpt-4o") >= 0


def test_deeply_nested_content_is_counted() -> None:
    block: dict[str, object] = {"type": "text", "text": "deep"}
    for _ in range(200):
        block = {"type": "tool_result", "content": [block]}
    assert counting.count_messages(chat([block]), "claude-haiku-4-5") > 200


def test_the_vocabularies_unpack_where_tiktoken_looks_for_them(tmp_path: Path) -> None:
    assert vocabularies.unpack(tmp_path) == tmp_path
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 2
    script = "import tiktoken; print(len(tiktoken.get_encoding('o200k_base').encode('Hello world')))"
    environment = {**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    assert subprocess.check_output([sys.executable, "-c", script], env=environment, text=True).strip() == "2"
    vocabularies.unpack(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_damaged_vocabulary_is_replaced(tmp_path: Path) -> None:
    vocabularies.unpack(tmp_path)
    damaged = tmp_path / vocabularies.RANK_FILES[0].cache_name
    damaged.write_bytes(b"short")
    vocabularies.unpack(tmp_path)
    assert damaged.stat().st_size == vocabularies.RANK_FILES[0].size


def test_the_command_needs_neither_django_nor_the_network(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PURSER_MODEL_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "llm.tokens.vocabularies"], cwd=ROOT, env=environment, check=True)
    script = "import sys; from llm.tokens import counting; counting.count_text('x', 'gpt-4o'); print('django' in sys.modules)"
    output = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, env=environment, text=True)
    assert output.strip() == "False"
    assert len(list(tmp_path.iterdir())) == 2


def test_counting_agrees_with_tiktoken_for_every_known_model() -> None:
    for model in ("gpt-4o", "gpt-4.1", "o3", "gpt-5", "gpt-4", "gpt-3.5-turbo", "text-embedding-3-large"):
        assert counting.encoding_for(model) is tiktoken.encoding_for_model(model)


def test_json_in_tools_may_hold_anything() -> None:
    body = json.loads('{"messages": [], "tools": [{"x": 1e400}, "no object", null]}')
    assert counting.count_chat(body, "gpt-4o") > 0
