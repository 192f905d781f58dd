"""A statement says how many requests its month had."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("billing", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.AddField(
            model_name='statement',
            name='request_count',
            field=models.BigIntegerField(default=0, help_text='requests, as billing/ledger/measures.py counts them'),
        ),
        migrations.AlterField(
            model_name='statement',
            name='record_count',
            field=models.BigIntegerField(help_text='rows of the ledger'),
        ),
    ]
