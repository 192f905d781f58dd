"""Tables of the semantic cache: entries with their vectors, scopes with their thresholds, labels, counts.

Invariant: `tenant_id` is the first column of every primary key in the database. The migration does this; Django uses
`id`, which is unique as well. Every table has row-level security. The hot path uses SQL, in `entries` and `learning`;
the ORM is for the admin, the tasks and the tests.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from pgvector.django import HalfVectorField

from tenants.models import Tenant


class CacheEntry(models.Model):
    """One question and its complete answer. `vector` has as many dimensions as its embedder."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, db_index=False, related_name="cache_entries")
    scope_digest = models.BinaryField("scope", max_length=32, editable=False)
    question_digest = models.BinaryField(max_length=16, editable=False)
    embedder = models.CharField(max_length=100)
    vector = HalfVectorField()
    question = models.TextField("question")
    answer = models.BinaryField("answer, packed", editable=False)
    circle = models.CharField(
        "shared with", max_length=255, help_text="tenant, or the one user or key that may reuse the answer"
    )
    endpoint = models.CharField(max_length=64)
    route = models.CharField("model asked for", max_length=255)
    model = models.CharField("model that answered", max_length=128)
    provider = models.CharField(max_length=128, blank=True, default="")
    prompt_version = models.CharField(max_length=200, blank=True, default="")
    usage = models.JSONField(default=dict, blank=True)
    list_cost_usd = models.DecimalField("list cost, USD", max_digits=28, decimal_places=12, default=0)
    answer_group = models.BinaryField(
        "same answer as", max_length=8, default=b"", db_default=b"", editable=False
    )
    key_id = models.BigIntegerField("stored by key", null=True, blank=True)
    confirmed_by = ArrayField(
        models.BigIntegerField(),
        default=list,
        blank=True,
        verbose_name="confirmed by keys",
        help_text="other keys that a provider gave the same answer",
    )
    # digests of the end users (or ids of keys without one) that got the answer from a provider, the author's first
    vouchers = ArrayField(models.BigIntegerField(), default=list, db_default=[], blank=True, editable=False)
    request_id = models.CharField("stored by request", max_length=64, blank=True, default="")
    hits = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    last_hit_at = models.DateTimeField("last used", help_text="last hit, or when it was stored")
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "caching_entry"
        verbose_name = "cached answer"
        verbose_name_plural = "cached answers"
        constraints = (
            # One entry per question of a scope. Its index also finds a scope's rows.
            models.UniqueConstraint(
                fields=["tenant", "scope_digest", "question_digest"], name="caching_entry_question"
            ),
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("created_at")), name="caching_entry_lives_forward"
            ),
        )
        indexes = (
            models.Index(fields=["tenant", "last_hit_at"], name="caching_entry_lru"),
            models.Index(fields=["expires_at"], name="caching_entry_expiry"),
            models.Index(fields=["tenant", "model"], name="caching_entry_model"),
            models.Index(fields=["id"], name="caching_entry_id"),  # the admin looks rows up by id alone
        )

    def __str__(self) -> str:
        return self.question if len(self.question) <= 80 else f"{self.question[:79]}…"


class CacheScope(models.Model):
    """What was learnt about one scope: the certainty from which its answers may be reused. No threshold: closed."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, db_index=False, related_name="cache_scopes")
    scope_digest = models.BinaryField("scope", max_length=32, editable=False)
    circle = models.CharField("shared with", max_length=255)
    endpoint = models.CharField(max_length=64)
    route = models.CharField("model asked for", max_length=255)
    embedder = models.CharField(max_length=100)
    prompt_version = models.CharField(max_length=200, blank=True, default="")
    threshold = models.FloatField(null=True, blank=True, help_text="certainty; empty while closed")
    max_error_rate = models.FloatField("bound on wrong hits")
    error_rate = models.FloatField("wrong hits, estimated", null=True, blank=True)
    error_rate_upper = models.FloatField("wrong hits, upper bound", null=True, blank=True)
    weights = models.BinaryField(null=True, editable=False)
    checked_share = models.FloatField("share of hits to check", default=0.05, db_default=0.05)
    labels = models.PositiveIntegerField("labels in all", default=0)
    labels_since_update = models.PositiveIntegerField(default=0)
    noise_floor = models.FloatField(
        "judge's noise floor", null=True, blank=True, help_text="share of labels that are wrong, at least"
    )
    repeats = models.PositiveIntegerField("questions answered twice", default=0, db_default=0)
    repeats_wrong = models.PositiveIntegerField("of them judged to differ", default=0, db_default=0)
    repeats_from = models.CharField(max_length=5, blank=True, default="", db_default="")
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField("threshold of")

    class Meta:
        db_table = "caching_scope"
        verbose_name = "cache scope"
        verbose_name_plural = "cache scopes"
        constraints = (
            models.UniqueConstraint(fields=["tenant", "scope_digest"], name="caching_scope_digest"),
            models.CheckConstraint(
                condition=models.Q(threshold__isnull=True) | models.Q(threshold__gt=0, threshold__lte=1),
                name="caching_scope_threshold",
            ),
        )

    def __str__(self) -> str:
        state = "closed" if self.threshold is None else f"open from {self.threshold:.3f}"
        return f"{self.route} for {self.circle}: {state}"


class CacheLabel(models.Model):
    """One judged pair: would the cached answer have served? `weight` is the number of requests it represents."""

    class Source(models.TextChoices):
        MISS = "miss", "a miss that had a candidate"
        CHECK = "check", "a hit, asked upstream as well"
        WOULD_HIT = "would_hit", "what a dry run would have served"
        FEEDBACK = "feedback", "a user's verdict"
        REPEAT = "repeat", "an exact hit asked again, to judge the judge"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, db_index=False, related_name="cache_labels")
    scope_digest = models.BinaryField("scope", max_length=32, editable=False)
    entry_id = models.BigIntegerField("entry", null=True, blank=True)
    similarity = models.FloatField()
    certainty = models.FloatField(null=True, blank=True)
    evidence = models.BinaryField(null=True, editable=False)
    is_wrong = models.BooleanField("would have been wrong")
    weight = models.FloatField(default=1)
    source = models.CharField(max_length=10, choices=Source.choices)
    is_repeat = models.BooleanField("the very same question", default=False, db_default=False)
    verdict = models.CharField("why", max_length=60, blank=True, default="")
    at = models.DateTimeField()

    class Meta:
        db_table = "caching_label"
        verbose_name = "cache label"
        verbose_name_plural = "cache labels"
        constraints = (models.CheckConstraint(condition=models.Q(weight__gt=0), name="caching_label_weight"),)
        indexes = (
            models.Index(fields=["tenant", "scope_digest", "-id"], name="caching_label_window"),
            models.Index(
                fields=["tenant", "scope_digest"],
                condition=models.Q(is_repeat=True),
                name="caching_label_repeats",
            ),
        )

    def __str__(self) -> str:
        return f"{'wrong' if self.is_wrong else 'right'} at {self.similarity:.3f}"


class CacheStat(models.Model):
    """Look-ups by hour, cache, outcome and reason. `scope_digest` is empty where no entry was found."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, db_index=False, related_name="cache_stats")
    hour = models.DateTimeField()
    cache = models.CharField(max_length=10, choices=(("exact", "exact"), ("semantic", "semantic")))
    outcome = models.CharField(max_length=10)
    reason = models.CharField(max_length=40, blank=True, default="")
    scope_digest = models.BinaryField("scope", max_length=32, default=b"", editable=False)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "caching_stat"
        verbose_name = "cache count"
        verbose_name_plural = "cache counts"
        constraints = (
            models.UniqueConstraint(
                fields=["tenant", "hour", "cache", "outcome", "reason", "scope_digest"],
                name="caching_stat_slot",
            ),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.cache} {self.outcome} {self.reason}: {self.count}"


class CacheScopeDay(models.Model):
    """What one scope's hits saved on a day (UTC), and what checking some of them cost."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, db_index=False, related_name="cache_scope_days"
    )
    scope_digest = models.BinaryField("scope", max_length=32, editable=False)
    day = models.DateField()
    hits = models.PositiveBigIntegerField(default=0)
    saved_usd = models.DecimalField("saved, USD", max_digits=28, decimal_places=12, default=0)
    checks = models.PositiveBigIntegerField(default=0)
    check_usd = models.DecimalField("checks, USD", max_digits=28, decimal_places=12, default=0)

    class Meta:
        db_table = "caching_scopeday"
        verbose_name = "day of a cache scope"
        verbose_name_plural = "days of cache scopes"
        constraints = (
            models.UniqueConstraint(fields=["tenant", "scope_digest", "day"], name="caching_scopeday_slot"),
        )

    def __str__(self) -> str:
        return f"{self.day}: {self.hits} hits"


class CacheThresholdPoint(models.Model):
    """A scope's threshold at a point in time: written when it has changed."""

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, db_index=False, related_name="cache_thresholds"
    )
    scope_digest = models.BinaryField("scope", max_length=32, editable=False)
    at = models.DateTimeField()
    threshold = models.FloatField(null=True)
    max_error_rate = models.FloatField()
    error_rate = models.FloatField(null=True)
    error_rate_upper = models.FloatField(null=True)
    labels = models.PositiveIntegerField()

    class Meta:
        db_table = "caching_thresholdpoint"
        verbose_name = "threshold of a cache scope"
        verbose_name_plural = "thresholds of cache scopes"
        constraints = (
            models.UniqueConstraint(
                fields=["tenant", "scope_digest", "at"], name="caching_thresholdpoint_slot"
            ),
        )

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}: {'closed' if self.threshold is None else f'{self.threshold:.3f}'}"
