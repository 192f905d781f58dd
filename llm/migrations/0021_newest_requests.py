"""An index for the newest requests of all tenants. The table is large: it is made while requests go on."""

from django.contrib.postgres.indexes import BrinIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):

    atomic = False
    dependencies = [("llm", "0020_batches_wait")]

    operations = [
        AddIndexConcurrently(
            "requestlog",
            BrinIndex(fields=["at"], name="requestlog_at", autosummarize=True, pages_per_range=32),
        ),
    ]
