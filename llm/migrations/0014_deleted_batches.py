"""A batch of messages that has ended may be deleted by its tenant; the ledger keeps what it cost."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0013_kept_items"),
    ]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="deleted_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
