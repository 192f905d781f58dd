"""Labels know whether the question was the very same; scopes what that tells of the judge, and so does Prometheus."""

from django.db import migrations, models

from tenants.rls import APP_ROLE

# The function of the third migration: what one returns can only be changed by making it anew. Both ways are written here.
TELL = f"""
DROP FUNCTION caching_scope_figures(integer);
CREATE FUNCTION caching_scope_figures(most integer)
RETURNS TABLE (tenant text, scope text, route text, hits bigint, saved_usd numeric, checks bigint, check_usd numeric,
               threshold float8, error_rate float8, error_rate_upper float8, noise_floor float8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.slug, left(encode(d.scope_digest, 'hex'), 16), coalesce(s.route, ''), d.hits, d.saved_usd, d.checks,
           d.check_usd, s.threshold, s.error_rate, s.error_rate_upper, s.noise_floor
    FROM (SELECT tenant_id, scope_digest, sum(hits)::bigint AS hits, sum(saved_usd) AS saved_usd,
                 sum(checks)::bigint AS checks, sum(check_usd) AS check_usd
          FROM caching_scopeday WHERE day > current_date - 30
          GROUP BY tenant_id, scope_digest ORDER BY 3 DESC, 1, 2 LIMIT most) d
    JOIN tenants_tenant t ON t.id = d.tenant_id
    LEFT JOIN caching_scope s ON s.tenant_id = d.tenant_id AND s.scope_digest = d.scope_digest
$$;
REVOKE ALL ON FUNCTION caching_scope_figures(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION caching_scope_figures(integer) TO {APP_ROLE};
"""
TELL_WITHOUT_NOISE = TELL.replace(", noise_floor float8", "").replace(", s.noise_floor", "")


class Migration(migrations.Migration):
    dependencies = [("caching", "0004_learnt_score")]

    operations = [
        migrations.AddField(
            "cachelabel",
            "is_repeat",
            models.BooleanField("the very same question", db_default=False, default=False),
        ),
        migrations.AlterField(
            "cachelabel",
            "source",
            models.CharField(
                choices=[
                    ("miss", "a miss that had a candidate"),
                    ("check", "a hit held back to check it"),
                    ("feedback", "a user's verdict"),
                    ("repeat", "an exact hit asked again, to judge the judge"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddIndex(
            "cachelabel",
            models.Index(
                condition=models.Q(("is_repeat", True)), fields=["tenant", "scope_digest"], name="caching_label_repeats"
            ),
        ),
        migrations.AddField(
            "cachescope",
            "noise_floor",
            models.FloatField(
                "judge's noise floor", blank=True, help_text="share of labels that are wrong, at least", null=True
            ),
        ),
        migrations.AddField(
            "cachescope",
            "repeats",
            models.PositiveIntegerField("questions answered twice", db_default=0, default=0),
        ),
        migrations.AddField(
            "cachescope",
            "repeats_wrong",
            models.PositiveIntegerField("of them judged to differ", db_default=0, default=0),
        ),
        migrations.AddField(
            "cachescope", "repeats_from", models.CharField(blank=True, db_default="", default="", max_length=5)
        ),
        migrations.RunSQL(TELL, TELL_WITHOUT_NOISE),
    ]
