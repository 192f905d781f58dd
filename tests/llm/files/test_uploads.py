"""Uploads and downloads as they come over the wire: streamed, bounded, and what hostile senders make of a form."""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.files.storage import storages

from llm.files import sweeping
from llm.files.stored import MAX_FILE_BYTES
from llm.models import StoredFile
from tests.books import eventually
from tests.llm.batches.conftest import jsonl, question
from tests.world import Member, World

BOUNDARY = "a-boundary-of-the-tests"
MEGABYTE = 1024 * 1024
SENT_MEGABYTES = 64
# of a process that takes and gives a file of 64 MB; what it keeps of one does not grow with the file
MOST_GROWTH_MEGABYTES = 40


def form(content: bytes, *, purpose: str = "batch", filename: str = "lines.jsonl") -> bytes:
    return head(purpose, filename) + content + tail()


def head(purpose: str = "batch", filename: str = "lines.jsonl") -> bytes:
    return (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    ).encode()


def tail() -> bytes:
    return f"\r\n--{BOUNDARY}--\r\n".encode()


def send(
    world: World, body: Any, *, member: Member | None = None, url: str = "", **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send a body, whole or piece by piece, and return the answer."""
    connection = http.client.HTTPConnection(urlsplit(url or world.stack.base_url).netloc, timeout=120)
    try:
        connection.request(
            "POST",
            "/v1/files",
            body=body,
            headers={
                "authorization": f"Bearer {(member or world.acme).key}",
                "content-type": f"multipart/form-data; boundary={BOUNDARY}",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
            encode_chunked=not isinstance(body, bytes),
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def files_of(member: Member) -> list[StoredFile]:
    return list(StoredFile.objects.filter(tenant_id=member.id, deleted_at=None))


def kept(member: Member) -> list[str]:
    """The names of the tenant's contents in the storage."""
    try:
        return storages["files"].listdir(str(member.id))[1]
    except FileNotFoundError:
        return []


def test_it_works(world: World):
    status, created = send(world, form(jsonl([question("a", "What is 1 plus 1?"), question("b", "Hi")])))
    assert (status, created["status"], created["status_details"]) == (200, "processed", None)
    checked = created["purser"]
    assert (checked["lines"], checked["problem_count"], checked["problems"]) == (2, 0, [])
    assert checked["bytes"] == created["bytes"]
    model = checked["models"]["gpt-4o-mini"]
    assert (model["lines"], model["max_output_tokens"]) == (2, 80)
    assert model["input_tokens"] > 10
    assert len(kept(world.acme)) == 1
    client = world.openai()
    client.files.delete(created["id"])
    assert kept(world.acme) == []


def test_every_wrong_line_is_told_at_once_with_its_number(world: World):
    lines = [
        question("a", "fine"),
        question("a", "the same name"),
        question("b", "streamed", stream=True),
        question("c", "nobody knows it", model="gone"),
        question("d", "no price", model="unpriced-model"),
        {**question("e", "elsewhere"), "url": "/v1/embeddings"},
        question("f", "token " * 130_000),
    ]
    created = world.openai().files.create(file=("lines.jsonl", jsonl(lines) + b"{nonsense"), purpose="batch")
    assert created.status == "error"
    problems = [(one["line"], one["code"], one["param"]) for one in created.purser["problems"]]
    assert problems == [
        (2, "invalid_request", "custom_id"),
        (3, "invalid_request", "stream"),
        (4, "model_not_found", "model"),
        (5, "model_unpriced", "model"),
        (6, "invalid_request", "url"),
        (7, "context_length_exceeded", "messages"),
        (8, "invalid_request", None),
    ]
    assert created.status_details.startswith("line 2: 'custom_id' is the same as in line 1.")
    assert created.status_details.endswith("And 4 more.")
    listed = world.openai().files.list().data[0]
    assert (listed.status, "problems" in listed.purser) == ("error", False)


def test_a_thousand_problems_are_listed_and_all_are_counted(world: World):
    created = world.openai().files.create(file=("lines.jsonl", b"nonsense\n" * 1_500), purpose="batch")
    assert len(created.purser["problems"]) == 1_000
    assert created.purser["problem_count"] == 1_500


def test_the_fields_of_a_form_may_come_after_its_file(world: World):
    body = (
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'.encode()
        + jsonl([question("a", "Hi")])
        + f'\r\n--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch'.encode()
        + tail()
    )
    status, created = send(world, body)
    assert (status, created["purpose"], created["purser"]["lines"]) == (200, "batch", 1)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_pieces_make_no_difference(world: World, size):
    content = jsonl([question(str(number), "Hi \r\n--" + BOUNDARY[:5]) for number in range(20)])
    body = form(content)[-5_000:] if size == 1 else form(content)
    body = form(content[:300] + b"\n") if size == 1 else body
    status, created = send(world, (body[at : at + size] for at in range(0, len(body), size)))
    assert status == 200
    assert world.openai().files.content(created["id"]).read() == (
        content[:300] + b"\n" if size == 1 else content
    )


@pytest.mark.parametrize(
    ("content", "lines", "problems"),
    [
        (b"\xef\xbb\xbf%s\r\n\r\n%s", 2, []),
        (b"%s\n%s", 2, []),
        (b"\n" * 1_000_000 + b"%s\n%s\n", 2, []),
        (b"%s\n\x00\n", 2, [2]),
        (b"%s\n\xff\xfe\n", 2, [2]),
        (b"%s\n" + b"[" * 100_000 + b"\n", 2, [2]),
        (b"%s\n" + b'{"a":' * 100_000 + b"\n", 2, [2]),
        (b"%s\n" + b"1,0," * 100_000 + b"\n", 2, [2]),
        (b"  \n", 0, [None]),
    ],
)
def test_odd_files_get_a_report(world: World, content, lines, problems):
    for name in ("a", "b"):
        content = content.replace(b"%s", json.dumps(question(name, "Hi")).encode(), 1)
    status, created = send(world, form(content))
    assert status == 200
    assert created["purser"]["lines"] == lines
    assert [one["line"] for one in created["purser"]["problems"]] == problems


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (head("nonsense") + b"x", "purpose"),
        (form(b"{}", purpose=""), "purpose"),
        (form(b"{}", purpose="\xff"), "purpose"),
        (f"--{BOUNDARY}--\r\n".encode(), "purpose"),
        (
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch'.encode() + tail(),
            "file",
        ),
        (head() + b"{}\r\n" + head() + b"{}" + tail(), "file"),
        (head() + b"it never ends", None),
        (b"no form at all", None),
        (f"--{BOUNDARY}\r\n".encode() + b"x" * 100_000, None),
        (f"--{BOUNDARY}\r\n".encode() + b"a: b\r\n" * 1_000 + tail(), None),
        (
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="x"\r\n\r\n'.encode()
            + b"x" * 9_000
            + tail(),
            "x",
        ),
        (
            f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="x"\r\n\r\nx\r\n'.encode() * 50 + tail(),
            None,
        ),
    ],
)
def test_a_form_that_is_wrong_is_refused_and_leaves_nothing(world: World, body, field):
    status, answer = send(world, body)
    assert (status, answer["error"]["param"]) == (400, field)
    eventually(lambda: files_of(world.acme), until=lambda found: not found)
    assert kept(world.acme) == []


@pytest.mark.parametrize("boundary", ["", "b" * 300])
def test_a_boundary_that_is_none_is_refused(world: World, boundary):
    status, answer = send(world, form(b"{}"), content_type=f"multipart/form-data; boundary={boundary}")
    assert (status, answer["error"]["param"]) == (400, "file")


def test_a_zip_bomb_is_refused(world: World):
    body = gzip.compress(form(b" " * (64 * MEGABYTE)))
    status, answer = send(world, body, content_encoding="gzip")
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    assert files_of(world.acme) == []


def test_a_compressed_form_is_taken(world: World):
    body = gzip.compress(form(jsonl([question(str(number), "Hi") for number in range(100)])))
    status, created = send(world, body, content_encoding="gzip")
    assert (status, created["purser"]["lines"]) == (200, 100)


def test_a_file_that_announces_too_much_is_refused_before_it_comes(world: World):
    connection = http.client.HTTPConnection(urlsplit(world.stack.base_url).netloc, timeout=30)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("authorization", f"Bearer {world.acme.key}")
    connection.putheader("content-type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("content-length", str(2 * MAX_FILE_BYTES))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_who_hangs_up_in_the_middle_leaves_nothing(world: World):
    address = urlsplit(world.stack.base_url)
    with socket.create_connection((address.hostname, address.port)) as sender:
        sender.sendall(
            f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.acme.key}\r\n"
            f"content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: 90000000\r\n\r\n".encode()
            + head()
            + b"x" * MEGABYTE
        )
        eventually(lambda: files_of(world.acme), until=bool)
        assert list(world.openai().files.list()) == []
    eventually(lambda: files_of(world.acme), until=lambda found: not found)
    assert kept(world.acme) == []


def test_a_form_without_an_end_is_not_waited_for(world: World):
    process, url = world.stack.start_web(workers=1, environment={"BODY_SECONDS": "1"})
    try:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as sender:
            sender.sendall(
                f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {world.acme.key}\r\n"
                f"content-type: multipart/form-data; boundary={BOUNDARY}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
            )
            piece = head() + b"x" * MEGABYTE
            sender.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            assert b" 408 " in sender.recv(64)
        eventually(lambda: files_of(world.acme), until=lambda found: not found)
        assert kept(world.acme) == []
    finally:
        process.stop()


def test_parallel_uploads_do_not_pass_a_quota(world: World, make_tenant):
    small = make_tenant(policy={"quotas": {"file_bytes": 3 * MEGABYTE}})
    body = form(b"x" * 2 * MEGABYTE, purpose="user_data")
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as senders:
        answers = list(senders.map(lambda _: send(world, body, member=small), range(4)))
    assert sorted(status for status, _ in answers)[:1] == [200]
    assert sum(file.bytes for file in files_of(small) if file.status == "processed") <= 3 * MEGABYTE
    assert {answer["error"]["code"] for status, answer in answers if status != 200} == {"quota_exceeded"}


def test_what_a_killed_upload_left_is_swept(world: World, monkeypatch):
    created = world.openai().files.create(file=("a", b"x"), purpose="user_data")
    StoredFile.objects.filter(public_id=created.id).update(status="arriving")
    sweeping.sweep()
    assert len(kept(world.acme)) == 1  # it may still be arriving
    StoredFile.objects.filter(public_id=created.id).update(created_at="2026-01-01T00:00Z")
    sweeping.sweep()
    assert kept(world.acme) == []
    assert not StoredFile.objects.filter(public_id=created.id).exists()


def test_no_file_is_read_at_another_tenants_place(world: World):
    from django.db import IntegrityError, transaction

    from tenants import contents

    created = world.openai().files.create(file=("a", b"secret"), purpose="user_data")
    file = StoredFile.objects.get(public_id=created.id)
    assert file.location.startswith(f"{world.acme.id}/")
    assert len(file.location.partition("/")[2]) == 32
    with pytest.raises(PermissionError):
        list(contents.pieces_of(world.outsider.id, file.location))
    theirs = world.openai(world.outsider).files.create(file=("b", b"mine"), purpose="user_data")
    with pytest.raises(IntegrityError), transaction.atomic():
        StoredFile.objects.filter(public_id=theirs.id).update(location=file.location)


def test_a_content_that_is_not_there_is_said_to_be_unreadable(world: World):
    created = world.openai().files.create(file=("a", b"x"), purpose="user_data")
    storages["files"].delete(StoredFile.objects.get(public_id=created.id).location)
    status, answer = world.get(f"/v1/files/{created.id}/content")
    assert (status, answer["error"]["code"]) == (503, "service_unavailable")


def test_a_file_goes_both_ways_in_bounded_memory(world: World):
    process, url = world.stack.start_web(workers=1)
    try:
        worker = worker_of(process.popen.pid)
        send(world, form(b"x", purpose="user_data"), url=url)  # what the first one loads
        before = peak(worker)
        status, created = send(world, big(), url=url)
        assert (status, created["status"]) == (200, "processed")
        assert created["bytes"] > 0.99 * SENT_MEGABYTES * MEGABYTE
        read, length = download(world, created["id"], url=url)
        assert read == length == created["bytes"]
        assert peak(worker) - before < MOST_GROWTH_MEGABYTES
    finally:
        process.stop()


def big() -> Iterator[bytes]:
    """A form with a file of 64 MB, of long lines."""
    text = "word " * 6_500
    yield head()
    for number in range(SENT_MEGABYTES * 32):
        yield json.dumps(question(str(number), text)).encode() + b"\n"
    yield tail()


def download(world: World, file_id: str, *, url: str) -> tuple[int, int]:
    """How many bytes came, and how many were announced."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request(
        "GET", f"/v1/files/{file_id}/content", headers={"authorization": f"Bearer {world.acme.key}"}
    )
    response = connection.getresponse()
    read = 0
    while piece := response.read(MEGABYTE):
        read += len(piece)
    connection.close()
    return read, int(response.headers["content-length"])


def worker_of(pid: int) -> int:
    """The process of a web server that serves: the largest of its descendants."""
    return max(descendants(pid), key=peak)


def descendants(pid: int) -> list[int]:
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [one for child in children for one in (child, *descendants(child))] or [pid]


def peak(pid: int) -> float:
    """The most memory that a process has had, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
