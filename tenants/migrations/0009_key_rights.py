"""Keys of persons with rights beyond calls."""

import tenants.validation
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0008_rotations'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='rights',
            field=models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text="beyond calls, of a key that is a person's: reports", validators=[tenants.validation.validate_key_rights]),
        ),
        migrations.AddField(
            model_name='historicalapikey',
            name='rights',
            field=models.JSONField(blank=True, db_default=models.Value([], models.JSONField()), default=list, help_text="beyond calls, of a key that is a person's: reports", validators=[tenants.validation.validate_key_rights]),
        ),
    ]
