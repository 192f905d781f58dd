"""Row-level security, what the gateway's role may do, and the log's group insert."""

from django.db import migrations

from tenants.rls import EnableRLS, GrantApp, NotifyOnChange

# The log is written for several tenants in one group, so it runs as the owner; it can do nothing but append.
CREATE_LOG_FUNCTION = """
CREATE FUNCTION llm_log_requests(rows jsonb) RETURNS void LANGUAGE sql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO llm_requestlog SELECT * FROM jsonb_populate_recordset(NULL::llm_requestlog, rows)
    ON CONFLICT (request_id) DO NOTHING
$$;
REVOKE ALL ON FUNCTION llm_log_requests(jsonb) FROM PUBLIC;
"""


class Migration(migrations.Migration):
    dependencies = [("llm", "0001_initial"), ("tenants", "0001_initial")]

    operations = [
        EnableRLS("llm_requestlog"),
        EnableRLS("llm_feedback"),
        EnableRLS("llm_storedfile"),
        EnableRLS("llm_batch"),
        EnableRLS("llm_batchitem"),
        GrantApp("llm_requestlog", "SELECT"),
        GrantApp("llm_feedback", "SELECT, INSERT"),
        GrantApp("llm_storedfile", "SELECT, INSERT, UPDATE"),
        GrantApp("llm_batch", "SELECT, INSERT, UPDATE"),
        GrantApp("llm_batchitem", "SELECT, INSERT, UPDATE"),
        migrations.RunSQL(CREATE_LOG_FUNCTION, "DROP FUNCTION llm_log_requests(jsonb)"),
        GrantApp("llm_log_requests(jsonb)", "EXECUTE", "FUNCTION"),
        NotifyOnChange("llm_provider", None),
        NotifyOnChange("llm_languagemodel", None),
    ]
