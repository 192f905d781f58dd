"""Keys and users name the tags of calls that do not say otherwise, and users their team."""

import tenants.validation
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0006_arrivals'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='tags',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='of calls that do not say otherwise: cost_center, project, ...', validators=[tenants.validation.validate_tags]),
        ),
        migrations.AddField(
            model_name='enduser',
            name='tags',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='of calls that do not say otherwise: project, ...', validators=[tenants.validation.validate_tags_of_user]),
        ),
        migrations.AddField(
            model_name='enduser',
            name='team',
            field=models.CharField(blank=True, db_default='', default='', help_text="one of the policy's teams, whose tags its calls have", max_length=100),
        ),
        migrations.AddField(
            model_name='historicalapikey',
            name='tags',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='of calls that do not say otherwise: cost_center, project, ...', validators=[tenants.validation.validate_tags]),
        ),
        migrations.AddField(
            model_name='historicalenduser',
            name='tags',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='of calls that do not say otherwise: project, ...', validators=[tenants.validation.validate_tags_of_user]),
        ),
        migrations.AddField(
            model_name='historicalenduser',
            name='team',
            field=models.CharField(blank=True, db_default='', default='', help_text="one of the policy's teams, whose tags its calls have", max_length=100),
        ),
    ]
