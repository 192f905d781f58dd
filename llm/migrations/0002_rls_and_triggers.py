"""What the gateway's role sees of whom and may write, and the triggers that send changes to every worker's snapshot."""

from django.db import migrations

from tenants.rls import EnableRLS, GrantApp, NotifyOnChange

RIGHTS = {
    "llm_requestlog": "SELECT",
    "llm_feedback": "SELECT, INSERT",
    "llm_storedfile": "SELECT, INSERT, UPDATE",
    "llm_batch": "SELECT, INSERT, UPDATE",
    "llm_batchitem": "SELECT, INSERT, UPDATE",
    "llm_batchjob": "SELECT",
    "llm_idempotentcall": "SELECT, INSERT, UPDATE, DELETE",
    "llm_keptresponse": "SELECT, INSERT, DELETE",
    "llm_keptitem": "SELECT, INSERT",
    "llm_storedchat": "SELECT, INSERT, UPDATE, DELETE",
}


class Migration(migrations.Migration):
    # the gateway reads tables of billing: with llm's migrations all are there
    dependencies = [
        ("llm", "0001_tables"),
        ("tenants", "0002_rls_and_triggers"),
        ("billing", "0002_rls_and_triggers"),
    ]

    operations = [
        *(EnableRLS(table) for table in RIGHTS),
        *(GrantApp(table, rights) for table, rights in RIGHTS.items()),
        GrantApp("llm_keptresponse_id_seq", "USAGE", "SEQUENCE"),
        GrantApp("llm_keptitem_id_seq", "USAGE", "SEQUENCE"),
        NotifyOnChange("llm_provider", None),
        NotifyOnChange("llm_languagemodel", None),
        NotifyOnChange("llm_deployment", None),
    ]
