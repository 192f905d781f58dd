"""The day from which a model is not served any more."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0018_requests_of_a_user"),
    ]

    operations = [
        migrations.AddField(
            model_name='historicallanguagemodel',
            name='retires_on',
            field=models.DateField(blank=True, help_text='The day from which its provider does not serve it any more, as announced.', null=True),
        ),
        migrations.AddField(
            model_name='languagemodel',
            name='retires_on',
            field=models.DateField(blank=True, help_text='The day from which its provider does not serve it any more, as announced.', null=True),
        ),
    ]
