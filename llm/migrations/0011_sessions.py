"""The log of requests names the session apart from the user: a user is a person."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0010_stored_chats"),
    ]

    operations = [
        migrations.AddField(
            model_name='requestlog',
            name='session',
            field=models.CharField(blank=True, help_text="Of the user's tool; a user is a person.", max_length=200, null=True),
        ),
    ]
