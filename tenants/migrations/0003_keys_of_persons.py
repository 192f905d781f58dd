"""A key may be a person's: whoever calls with it is counted as that person."""

from django.db import migrations, models

USER = models.CharField(
    blank=True,
    db_default='',
    default='',
    help_text='the person whose key it is: counted whoever a call says it is for',
    max_length=200,
)


class Migration(migrations.Migration):

    dependencies = [
        ("tenants", "0002_one_minilm"),
    ]

    operations = [
        migrations.AddField(model_name='apikey', name='user', field=USER),
        migrations.AddField(model_name='historicalapikey', name='user', field=USER),
    ]
