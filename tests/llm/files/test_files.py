"""The files API with the real SDK: upload, list, read, delete, and nobody else's files."""

import openai
import pytest

from tests.world import World


def test_it_works(world: World):
    client = world.openai()
    content = b'{"custom_id": "a"}\n'
    created = client.files.create(file=("lines.jsonl", content), purpose="batch")
    assert created.id.startswith("file-")
    assert (created.bytes, created.filename, created.purpose) == (len(content), "lines.jsonl", "batch")
    assert client.files.retrieve(created.id) == created
    assert client.files.content(created.id).read() == content
    assert client.files.delete(created.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(created.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(created.id)
    with pytest.raises(openai.NotFoundError):
        client.files.delete(created.id)


def test_a_file_is_kept_byte_for_byte(world: World):
    client = world.openai()
    content = bytes(range(256)) * 20_000  # larger than what a form keeps in memory
    created = client.files.create(file=("bytes.bin", content), purpose="user_data")
    assert client.files.content(created.id).read() == content


def test_the_list_is_newest_first_and_turns_pages(world: World):
    client = world.openai()
    made = [client.files.create(file=(f"{number}.jsonl", b"{}\n"), purpose="batch").id for number in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == made
    first = client.files.list(limit=2)
    assert (len(first.data), first.has_more) == (2, True)


def test_the_list_can_be_narrowed_to_a_purpose(world: World):
    client = world.openai()
    wanted = client.files.create(file=("a", b"a"), purpose="vision").id
    client.files.create(file=("b", b"b"), purpose="batch")
    assert [file.id for file in client.files.list(purpose="vision")] == [wanted]


def test_another_tenants_file_is_not_there(world: World):
    created = world.openai().files.create(file=("lines.jsonl", b"{}\n"), purpose="batch")
    stranger = world.openai(world.outsider)
    for ask in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(created.id)
        assert caught.value.code == "not_found"
    assert list(stranger.files.list()) == []
    with pytest.raises(openai.NotFoundError):
        stranger.batches.create(
            input_file_id=created.id, endpoint="/v1/chat/completions", completion_window="24h"
        )


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"purpose": "nonsense", "file": ("a", b"a")}, "purpose"),
    ],
)
def test_a_form_that_is_wrong_names_its_field(world: World, form, field):
    with pytest.raises(openai.BadRequestError) as caught:
        world.openai().files.create(**form)
    assert caught.value.param == field


def test_a_body_that_is_no_form_is_refused(world: World):
    status, body = world.request("POST", "/v1/files", {"purpose": "batch"})
    assert (status, body["error"]["param"]) == (400, "file")


def test_a_page_of_nothing_is_no_error(world: World):
    client = world.openai()
    client.files.create(file=("a", b"a"), purpose="batch")
    for empty in (client.files.list(limit=0), client.files.list(purpose="no such purpose")):
        assert empty.data == []
