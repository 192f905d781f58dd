"""The contents of files move from the table into the storage, one after another."""

from io import BytesIO
from typing import Any

from django.db import migrations, models

from tenants import contents


def move_into_storage(apps: Any, schema_editor: Any) -> None:
    """A row names its content before it is kept, and lets it go afterwards; a second run goes on where the first ended."""
    files = apps.get_model("llm", "StoredFile").objects
    for pk, tenant_id in files.exclude(content=b"").order_by("pk").values_list("pk", "tenant_id"):
        content, location = files.values_list("content", "location").get(pk=pk)
        if location:
            contents.remove(tenant_id, location)
        else:
            location = contents.new_location(tenant_id)
            files.filter(pk=pk).update(location=location)
        contents.save(tenant_id, location, BytesIO(content))
        files.filter(pk=pk).update(content=b"")


def move_into_table(apps: Any, schema_editor: Any) -> None:
    files = apps.get_model("llm", "StoredFile").objects
    for pk, tenant_id, location in files.exclude(location="").order_by("pk").values_list("pk", "tenant_id", "location"):
        files.filter(pk=pk).update(content=b"".join(contents.pieces_of(tenant_id, location)), location="")
        contents.remove(tenant_id, location)


class Migration(migrations.Migration):
    # each row is moved for good, whatever comes of the next
    atomic = False

    dependencies = [("llm", "0012_files_in_storage")]

    operations = [
        migrations.AlterField("storedfile", "content", models.BinaryField(default=b"")),
        migrations.RunPython(move_into_storage, move_into_table),
        migrations.RemoveField("storedfile", "content"),
    ]
