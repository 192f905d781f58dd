"""What reading a provider's cost reports takes."""

import tenants.secrets
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0005_idempotent_calls"),
    ]

    operations = [
        migrations.AddField(
            model_name='historicalprovider',
            name='report_scope',
            field=models.JSONField(blank=True, default=dict, help_text="What of the organization's costs is this account's: projects (or workspaces) and api_keys, by id."),
        ),
        migrations.AddField(
            model_name='provider',
            name='admin_api_key',
            field=tenants.secrets.EncryptedTextField(blank=True, default='', help_text="Reads the account's cost reports; the providers want another key for them."),
        ),
        migrations.AddField(
            model_name='provider',
            name='report_scope',
            field=models.JSONField(blank=True, default=dict, help_text="What of the organization's costs is this account's: projects (or workspaces) and api_keys, by id."),
        ),
    ]
