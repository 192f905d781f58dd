"""The person that a member is to their tenant."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_rls_and_triggers")]

    operations = [
        migrations.AddField(
            "membership",
            "person",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="the tenant's name for them, as in x-purser-user: its keys and figures are their own; blank for none",
                max_length=200,
            ),
        ),
        migrations.AddConstraint(
            "membership",
            models.UniqueConstraint(
                condition=models.Q(("person", ""), _negated=True),
                fields=("tenant", "person"),
                name="membership_person_unique",
            ),
        ),
    ]
