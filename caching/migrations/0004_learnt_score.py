"""What the learned score needs: which entries have the same answer, what a label was judged on, a scope's weights."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("caching", "0003_scope_figures")]

    operations = [
        migrations.AddField(
            "cacheentry",
            "answer_group",
            models.BinaryField("same answer as", db_default=b"", default=b"", editable=False, max_length=8),
        ),
        migrations.AddField("cachelabel", "certainty", models.FloatField(blank=True, null=True)),
        migrations.AddField("cachelabel", "evidence", models.BinaryField(editable=False, null=True)),
        migrations.AddField("cachescope", "weights", models.BinaryField(editable=False, null=True)),
        migrations.AddField(
            "cachescope",
            "checked_share",
            models.FloatField("share of hits to check", db_default=0.05, default=0.05),
        ),
        migrations.AlterField(
            "cachescope",
            "threshold",
            models.FloatField(blank=True, help_text="certainty; empty while closed", null=True),
        ),
        # Thresholds so far were similarities. A certainty is another scale: every scope is closed, and learns.
        migrations.RunSQL(
            "UPDATE caching_scope SET threshold = NULL, error_rate = NULL, error_rate_upper = NULL", migrations.RunSQL.noop
        ),
    ]
