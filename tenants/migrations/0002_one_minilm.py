"""MiniLM has one precision: policies that chose its fp32 vectors by a name of their own have them as `minilm`."""

from typing import Any

from django.db import migrations

FORMER = "minilm-fp32"

def rename(apps: Any, schema_editor: Any) -> None:
    for tenant in apps.get_model("tenants", "Tenant").objects.all():
        cache = tenant.policy.get("cache", {})
        also = cache.get("also_embed_with", [])
        if FORMER not in (cache.get("embedder"), *also):
            continue
        if cache.get("embedder") == FORMER:
            cache["embedder"] = "minilm"
        if FORMER in also:
            cache["also_embed_with"] = [name for name in also if name not in (FORMER, "minilm")] + ["minilm"]
        tenant.save(update_fields=["policy"])


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [migrations.RunPython(rename, migrations.RunPython.noop)]
