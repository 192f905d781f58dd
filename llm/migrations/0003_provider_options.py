"""What a provider's kind has to know of an account besides. The kinds themselves are listed in the code alone."""

from django.db import migrations, models

import llm.providers.kinds

OPTIONS = models.JSONField(
    blank=True, default=dict, help_text="What its kind has to know besides, by name: docs/providers.md."
)
BASE_URL = models.URLField(help_text="The server's address, as the SDK of its kind takes it.", max_length=300)
KIND = models.CharField(
    choices=llm.providers.kinds.kind_choices,
    help_text="What the server is, and how it is asked.",
    max_length=16,
)


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0002_rls_and_triggers"),
    ]

    operations = [
        operation
        for model in ("provider", "historicalprovider")
        for operation in (
            migrations.AddField(model, "options", OPTIONS.clone()),
            migrations.AlterField(model, "base_url", BASE_URL.clone()),
            migrations.AlterField(model, "kind", KIND.clone()),
        )
    ]
