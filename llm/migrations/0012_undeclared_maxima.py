"""A model whose longest answer nobody declared: 0."""

from django.db import migrations, models

_FIELD = models.PositiveIntegerField(
    default=0, help_text="The longest answer that its provider allows; 0: not known, the provider decides."
)


class Migration(migrations.Migration):
    dependencies = [("llm", "0011_sessions")]

    operations = [
        migrations.AlterField("languagemodel", "max_output_tokens", _FIELD),
        migrations.AlterField("historicallanguagemodel", "max_output_tokens", _FIELD),
    ]
