"""Files of closed months in the storage of files, and statements whose lines are digested as PostgreSQL writes them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0022_tags")]

    operations = [
        migrations.AddField(
            "statement",
            "content_version",
            models.SmallIntegerField(default=1, help_text="how content_digest reads the lines"),
        ),
        migrations.AddField(
            "statementfile",
            "is_sealed",
            models.BooleanField(
                default=True,
                help_text="part of the statement's digest; the others are made of the closed ledger after it",
            ),
        ),
        migrations.AddField(
            "statementfile",
            "location",
            models.CharField(blank=True, default="", help_text="in the storage of files", max_length=200),
        ),
        migrations.AddField("statementfile", "size_bytes", models.BigIntegerField(null=True)),
        migrations.AlterField(
            "statementfile",
            "content",
            models.BinaryField(help_text="of files that are older than their storage", null=True),
        ),
        migrations.AddConstraint(
            "statementfile",
            models.CheckConstraint(
                condition=models.Q(("content__isnull", True), ("location", ""), _connector="XOR"),
                name="statement_file_has_a_place",
            ),
        ),
    ]
