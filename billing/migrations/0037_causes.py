"""Why a provider's bill differs, as exactly as it is known; what a report says of credits and of other projects."""

from django.db import migrations, models

CAUSES = [('rounding', 'rounded to cents'), ('midnight', 'calls over midnight'), ('late', 'billed on the day beside it'), ('day_missing', 'whole day missing there'), ('line_missing', 'line missing there'), ('project', 'in another project there'), ('not_booked', 'our calls without a row'), ('past_us', 'used past the gateway'), ('unknown_model', 'a model that we do not call'), ('price', 'another price'), ('known_price', 'another price that we know'), ('price_in_the_day', 'price changed within the day'), ('batch_discount', 'batch discount not given'), ('processing', 'billed as another processing'), ('one_factor', 'all amounts by one factor'), ('credit', 'credit or negative line'), ('repeated', 'line repeated'), ('other_meter', 'on another meter'), ('cache_as_input', 'cache read billed as input'), ('other_model', 'under another model'), ('off_by_one', 'off by one'), ('quantity_only', 'quantity alone differs'), ('counted_here', 'counted by us'), ('bound', 'booked as a bound'), ('counted', 'they counted less')]
KINDS = [('match', 'match'), ('rounding', 'rounding'), ('boundary', 'day boundary'), ('quantity', 'quantity'), ('price', 'price'), ('missing_here', 'missing here'), ('missing_there', 'missing there'), ('bypass', 'bypass'), ('credit', 'credit')]


def cause():
    return models.CharField(blank=True, choices=CAUSES, db_default='', default='', max_length=16)


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0036_close_by_two'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='costreportline',
            name='cost_line_live_once',
        ),
        migrations.AddField(model_name='costcomparison', name='cause', field=cause()),
        migrations.AddField(model_name='historicalcostcomparison', name='cause', field=cause()),
        migrations.AddField(
            model_name='costreportline',
            name='copies',
            field=models.PositiveSmallIntegerField(db_default=1, default=1, help_text='how often the report has this line; amount and quantity are of all'),
        ),
        migrations.AddField(
            model_name='costreportline',
            name='standing',
            field=models.CharField(blank=True, choices=[('', 'counted'), ('credit', 'credit'), ('elsewhere', 'of another project, not counted')], db_default='', default='', max_length=9),
        ),
        migrations.AlterField(
            model_name='costcomparison',
            name='kind',
            field=models.CharField(choices=KINDS, max_length=13),
        ),
        migrations.AlterField(
            model_name='historicalcostcomparison',
            name='kind',
            field=models.CharField(choices=KINDS, max_length=13),
        ),
        migrations.AddConstraint(
            model_name='costreportline',
            constraint=models.UniqueConstraint(condition=models.Q(('superseded_at', None)), fields=('provider', 'day', 'line_item', 'project', 'model', 'meter', 'processing', 'standing'), name='cost_line_live_once'),
        ),
    ]
