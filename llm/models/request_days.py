"""How many requests ended how, and how long they took: by day, in counts that can be added up.

Invariant: a request is counted in the statement that writes its row of the log, so each is counted once. `RequestTally` is
what is not added to `RequestDay` yet. Latencies are buckets of a logarithmic scale (`llm.request_days`), so that quantiles of
any span of days and tenants follow from them, and no request's own figure is needed.
"""

from django.db import models

from tenants.models import Tenant


class RequestTally(models.Model):
    """Requests of one group of the log that are equal in all of this. Rows are only inserted and deleted, never updated."""

    tenant = models.ForeignKey(
        Tenant, null=True, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    day = models.DateField(help_text="in UTC")
    provider = models.TextField()
    outcome = models.TextField()
    latency = models.SmallIntegerField(help_text="a bucket")
    first_token = models.SmallIntegerField(null=True, help_text="a bucket")
    requests = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.requests} {self.outcome} on {self.day}"


class RequestDay(models.Model):
    """Requests of a day by provider, outcome and latency; a row of `first_token` counts times to the first token.

    Without a tenant: of the whole installation, with requests of unknown callers.
    """

    class Measure(models.TextChoices):
        ANSWERED = "answered", "answered by a provider"
        CACHED = "cached", "answered from the cache"
        REFUSED = "refused", "refused"
        FAILED = "failed", "failed"
        FIRST_TOKEN = "first_token", "first token of an answer"

    tenant = models.ForeignKey(
        Tenant, null=True, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    day = models.DateField(help_text="in UTC")
    provider = models.TextField()
    measure = models.TextField(choices=Measure)
    bucket = models.SmallIntegerField()
    requests = models.BigIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "day", "provider", "measure", "bucket"),
                name="request_day_once",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        return f"{self.requests} {self.measure} on {self.day}"
