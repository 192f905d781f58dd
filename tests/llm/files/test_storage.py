"""Where contents are: a folder that only the product reads, a server that speaks S3, and how they got there from the table."""

import io
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.core.files.storage import storages
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings
from django.utils import timezone
from moto.server import ThreadedMotoServer

from config.file_storage import storage_of
from llm.files.sharing import check_files
from llm.models import StoredFile
from tenants import contents
from tenants.models import Tenant

BUCKET = "purser-files"
TENANT = 4711


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A bucket on a server that speaks S3, as the environment would name it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    settings = {
        "FILES_S3_BUCKET": BUCKET,
        "FILES_S3_PREFIX": "contents",
        "FILES_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "FILES_S3_REGION": "us-east-1",
        "FILES_S3_ACCESS_KEY": "a-key",
        "FILES_S3_SECRET_KEY": "a-secret",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    try:
        client(settings).create_bucket(Bucket=BUCKET)
        yield settings
    finally:
        server.stop()


def client(settings: dict[str, Any]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings["FILES_S3_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="a-key",
        aws_secret_access_key="a-secret",
    )


def read(location: str) -> bytes:
    return b"".join(contents.pieces_of(TENANT, location))


def test_it_works(tmp_path: Path) -> None:
    with override_settings(STORAGES={"files": storage_of(tmp_path)}):
        location = contents.new_location(TENANT)
        contents.save(TENANT, location, io.BytesIO(b"secret"))
        (kept,) = (path for path in tmp_path.rglob("*") if path.is_file())
        assert kept == tmp_path / "files" / location
        assert kept.stat().st_mode & 0o777 == 0o600
        assert kept.parent.stat().st_mode & 0o777 == 0o700
        assert read(location) == b"secret"
        contents.remove(TENANT, location)
        contents.remove(TENANT, location)
        with pytest.raises(contents.ContentMissing):
            read(location)


def test_a_bucket_keeps_what_the_folder_would(s3: dict[str, Any], tmp_path: Path) -> None:
    with override_settings(STORAGES={"files": storage_of(tmp_path)}):
        location, content = contents.new_location(TENANT), os.urandom(9 * 1024 * 1024)
        contents.save(TENANT, location, io.BytesIO(content))
        listed = client(s3).list_objects_v2(Bucket=BUCKET)["Contents"]
        assert [(one["Key"], one["Size"]) for one in listed] == [(f"contents/{location}", len(content))]
        assert read(location) == content
        contents.remove(TENANT, location)
        with pytest.raises(contents.ContentMissing):
            read(location)
        assert list(tmp_path.iterdir()) == []


def test_what_is_read_of_a_bucket_is_on_disk(s3: dict[str, Any], tmp_path: Path) -> None:
    with override_settings(STORAGES={"files": storage_of(tmp_path)}):
        assert storages["files"].max_memory_size == 1024 * 1024


@pytest.mark.django_db
def test_contents_of_the_table_move_into_the_storage_and_back(tmp_path: Path) -> None:
    migration = import_module("llm.migrations.0013_file_contents")
    with connection.cursor() as cursor:  # as the table was
        cursor.execute("ALTER TABLE llm_storedfile ADD content bytea NOT NULL DEFAULT ''")
    apps = MigrationLoader(connection).project_state(("llm", "0012_files_in_storage")).apps
    tenant = Tenant.objects.create(slug="moved", name="Moved", timezone="UTC")
    files = apps.get_model("llm", "StoredFile").objects
    begun = contents.new_location(tenant.pk)
    rows = [
        files.create(
            public_id=f"file-{number}",
            tenant_id=tenant.pk,
            key_id=1,
            purpose="batch",
            filename="x",
            bytes=len(content),
            content=content,
            location=location,
            created_at=timezone.now(),
        )
        for number, (content, location) in enumerate([(b"first", ""), (b"", ""), (b"third", begun)])
    ]
    with override_settings(STORAGES={"files": storage_of(tmp_path)}):
        contents.save(tenant.pk, begun, io.BytesIO(b"th"))  # a run that was killed here
        migration.move_into_storage(apps, None)
        moved = [files.get(pk=row.pk) for row in rows]
        assert [bytes(row.content) for row in moved] == [b"", b"", b""]
        assert moved[1].location == ""
        kept = [b"".join(contents.pieces_of(tenant.pk, moved[index].location)) for index in (0, 2)]
        assert kept == [b"first", b"third"]
        migration.move_into_table(apps, None)
        assert [bytes(files.get(pk=row.pk).content) for row in rows] == [b"first", b"", b"third"]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.django_db
def test_a_machine_that_does_not_see_the_others_files_is_told(tmp_path: Path) -> None:
    tenant = Tenant.objects.create(slug="shared", name="Shared", timezone="UTC")
    location = contents.new_location(tenant.pk)
    StoredFile.objects.create(
        public_id="file-shared",
        tenant=tenant,
        key_id=1,
        purpose="batch",
        filename="x",
        bytes=1,
        location=location,
        created_at=timezone.now(),
    )
    with override_settings(STORAGES={"files": storage_of(tmp_path)}):
        (warning,) = check_files()
        assert warning.id == "purser.W002"
        assert "file-shared" in warning.msg
        contents.save(tenant.pk, location, io.BytesIO(b"x"))
        assert "file-shared" not in "".join(one.msg for one in check_files())
