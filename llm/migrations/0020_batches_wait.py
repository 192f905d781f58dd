"""An account whose batches wait while it is disabled."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("llm", "0019_retirement"),
    ]

    operations = [
        migrations.AddField(
            model_name=name,
            name="batches_wait",
            field=models.BooleanField(
                default=False,
                help_text="Nothing more of a batch goes out to it; what it has already is collected.",
            ),
        )
        for name in ("historicalprovider", "provider")
    ]
