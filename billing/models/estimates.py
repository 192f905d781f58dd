"""The accuracy of estimates: how they have compared with what calls cost.

Invariant: learned from the ledger and for nothing but holds and forecasts; without a row the estimate stays as it is.
"""

from django.db import models
from django.utils.timezone import now

from billing.models.fields import AmountField


class EstimateAccuracy(models.Model):
    """One model at one provider, for prompts of one shape, over the last weeks."""

    class Shape(models.TextChoices):
        TEXT = "text", "text"
        TOOLS = "tools", "with tools or a schema"
        MEDIA = "media", "with images, audio or files"

    provider = models.TextField()
    model = models.TextField()
    shape = models.CharField(max_length=5, choices=Shape)
    samples = models.BigIntegerField(
        help_text="calls that were answered and billed by the provider's figures"
    )
    learned_from = models.BigIntegerField(help_text="those whose prompt was long enough to learn from")
    input_factor = models.DecimalField(
        max_digits=6, decimal_places=4, help_text="input tokens are held times this"
    )
    input_ratio_p50 = models.DecimalField(
        max_digits=12, decimal_places=4, null=True, help_text="actual / counted"
    )
    input_ratio_high = models.DecimalField(
        max_digits=12, decimal_places=4, null=True, help_text="the same, p99.5"
    )
    hold_usd = AmountField(help_text="held altogether")
    billed_usd = AmountField(help_text="billed altogether")
    hold_ratio_p50 = models.DecimalField(
        max_digits=16, decimal_places=4, null=True, help_text="held / billed"
    )
    short = models.BigIntegerField(help_text="calls that cost more than their hold")
    output_p50 = models.BigIntegerField()
    output_p95 = models.BigIntegerField()
    refreshed_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ("provider", "model", "shape")
        verbose_name = "estimate"
        constraints = (
            models.UniqueConstraint(fields=("provider", "model", "shape"), name="estimate_accuracy_unique"),
            # a hold is an upper bound: no lesson makes it half of what was counted
            models.CheckConstraint(
                condition=models.Q(input_factor__gte="0.5", input_factor__lte=4),
                name="estimate_factor_bounded",
            ),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} ({self.shape}): {self.input_factor}"
