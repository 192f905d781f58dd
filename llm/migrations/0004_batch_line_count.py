"""A batch knows how many lines it has before they are written down."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("llm", "0003_batch_jobs")]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="line_count",
            field=models.PositiveIntegerField(default=0),
        ),
    ]
