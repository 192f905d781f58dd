"""What a body refers to of what a provider keeps, and what an answer made that may be referred to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.wire.references import ids_made_by, references_in


def found(body: dict[str, Any]) -> dict[str, str]:
    return {one.id: one.param for one in references_in(body)}


def part(**content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [content]}]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, {"msg_1": "input.0.id"}),
        ({"input": [{"id": "msg_1"}]}, {"msg_1": "input.0.id"}),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, {"rs_1": "input.0.id"}),
        ({"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]}, {}),
        ({"input": [{"type": "message", "id": "msg_1", "role": "assistant", "content": []}]}, {}),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
            {"file-1": "input.0.content.0.file_id"},
        ),
        (
            {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}]},
            {"vs_1": "tools.0.vector_store_ids.0", "vs_2": "tools.0.vector_store_ids.1"},
        ),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, {"cntr_1": "tools.0.container"}),
        (
            {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}}]},
            {"file-1": "tools.0.container.file_ids.0"},
        ),
        ({"container": "container_1"}, {"container_1": "container"}),
        (
            {"container": {"id": "container_1", "skills": [{"type": "custom", "skill_id": "skill_1"}]}},
            {"container_1": "container.id", "skill_1": "container.skills.0.skill_id"},
        ),
        ({"container": {"skills": [{"type": "anthropic", "skill_id": "pptx"}]}}, {}),
        (
            part(type="document", source={"type": "file", "file_id": "file_1"}),
            {"file_1": "messages.0.content.0.source.file_id"},
        ),
        (part(type="container_upload", file_id="file_1"), {"file_1": "messages.0.content.0.file_id"}),
        (part(type="file", file={"file_id": "file-1"}), {"file-1": "messages.0.content.0.file.file_id"}),
        (
            {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
            {"audio_1": "messages.0.audio.id"},
        ),
        ({"audio": {"voice": "alloy", "format": "wav"}}, {}),
        ({"audio": {"voice": {"id": "voice_1"}}}, {"voice_1": "audio.voice.id"}),
    ],
)
def test_it_works(body: dict[str, Any], expected: dict[str, str]) -> None:
    assert found(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        part(type="tool_use", id="t", name="read", input={"file_id": "file_1", "container": "c"}),
        {
            "tools": [
                {
                    "type": "function",
                    "name": "read",
                    "parameters": {"properties": {"file_id": {"enum": ["f"]}}},
                }
            ]
        },
        {"tools": [{"name": "read", "input_schema": {"default": {"file_id": "file_1"}}}]},
        {
            "input": [
                {"type": "function_call", "id": "fc_1", "name": "f", "arguments": '{"file_id": "file_1"}'}
            ]
        },
        {"metadata": {"file_id": "file_1"}},
        {
            "input": [
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "x", "annotations": [{"file_id": "file_1"}]}],
                }
            ]
        },
        {"input": "file_id"},
    ],
)
def test_data_refers_to_nothing(body: dict[str, Any]) -> None:
    assert found(body) == {}


def test_an_answer_makes_what_its_items_and_tools_say() -> None:
    answer = {
        "id": "resp_1",
        "tools": [{"type": "file_search", "vector_store_ids": ["vs_of_the_request"]}],
        "metadata": {"file_id": "file_of_the_client"},
        "output": [
            {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
            {"type": "function_call", "id": "fc_1", "arguments": "{}"},
            {
                "type": "message",
                "id": "msg_1",
                "content": [
                    {"type": "output_text", "annotations": [{"file_id": "cfile_1", "container_id": "cntr_1"}]}
                ],
            },
        ],
    }
    assert set(ids_made_by(answer, are_items_kept=True)) == {"ci_1", "cntr_1", "fc_1", "msg_1", "cfile_1"}
    assert set(ids_made_by(answer, are_items_kept=False)) == {"cntr_1", "cfile_1"}


def test_what_a_model_writes_makes_nothing() -> None:
    """Else whoever has a model say another tenant's id would own it."""
    written = {"type": "tool_use", "id": "t", "name": "f", "input": {"file_id": "file_of_another"}}
    answer = {"content": [written], "container": {"id": "container_1"}}
    assert ids_made_by(answer, are_items_kept=True) == ["container_1"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["input", "output", "content", "container", "file_id", "file_ids", "id", "type", "audio"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(
    st.dictionaries(st.sampled_from(["input", "output", "content", "container", "tools"]), _JSON, max_size=4)
)
def test_no_body_is_too_odd(body: dict[str, Any]) -> None:
    assert all(one.id and one.param for one in references_in(body))
    assert all(ids_made_by(body, are_items_kept=True))
