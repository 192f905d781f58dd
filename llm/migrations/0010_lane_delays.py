"""What a lane's delays are counted in has changed: they are learnt anew, from what providers publish."""

from django.db import migrations, models


def forget(apps, schema_editor):
    apps.get_model("llm", "LaneDelay").objects.all().delete()


class Migration(migrations.Migration):

    dependencies = [("llm", "0009_deferred_equals")]

    operations = [
        migrations.RunPython(forget, migrations.RunPython.noop),
        migrations.RemoveField(model_name="lanedelay", name="counts"),
        migrations.AddField(
            model_name="lanedelay",
            name="answered",
            field=models.JSONField(default=list, help_text="Answers by delay, in the buckets of llm.deferred.delays."),
        ),
        migrations.AddField(
            model_name="lanedelay",
            name="given_up",
            field=models.JSONField(
                default=list, help_text="By how long was waited before it was taken back, in the same buckets."
            ),
        ),
        migrations.AlterField(
            model_name="lanedelay",
            name="lane",
            field=models.CharField(
                help_text="batch, flex or online; back: how long a cancelled batch takes.", max_length=8
            ),
        ),
    ]
