"""An index for the requests of one user, newest first: a person's own list in the portal."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("llm", "0017_saved_views")]

    operations = [
        migrations.AddIndex(
            "requestlog",
            models.Index(fields=["tenant", "user", "-at"], name="requestlog_user_at", condition=~models.Q(user="")),
        ),
    ]
