"""The number of queries of every page, as it was when it was last looked at. More is a regression, and a new page is added.

`SNAPSHOT=write make test ARGS=tests/admin/test_query_counts.py` writes it anew.
"""

import json
import os
from pathlib import Path

from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from config.planning.page import TABS
from config.tenant_page.pages import CONTENTS
from tests.admin.office import Office
from tests.admin.test_pages import PAGES, label, query_count, url_of

SNAPSHOT = Path(__file__).with_name("query_counts.json")


def counted(office: Office) -> dict[str, int]:
    client = office.client(office.olga)
    request = client.get(reverse("admin:index")).wsgi_request  # and what is asked once is known now
    counts = {"home": queries(client, reverse("admin:index"))}
    counts["month report"] = queries(client, reverse("admin:billing_reports") + "?tenant=acme")
    for tab in TABS:
        counts[f"planning {tab}"] = queries(
            client, f"{reverse('planning')}?tab={tab}&tenant={office.acme.slug}"
        )
    for name in (*CONTENTS, "policy"):
        url = reverse(f"admin:tenants_tenant_{name}", args=(office.acme.pk,))
        counts[f"tenants.tenant {name}"] = queries(client, url)
    for model in PAGES:
        counts[f"{label(model)} list"] = queries(client, url_of(model, "changelist"))
        if row := office.row(model):
            counts[f"{label(model)} page"] = queries(client, url_of(model, "change", row.pk))
        if admin.site._registry[model].has_add_permission(request):
            counts[f"{label(model)} form"] = queries(client, url_of(model, "add"))
    return counts


def queries(client: Client, url: str) -> int:
    """Of a page in a process that knows no content type yet, so that no order of tests matters."""
    ContentType.objects.clear_cache()
    return query_count(client, url)


def test_it_works(office: Office) -> None:
    counts = counted(office)
    if os.environ.get("SNAPSHOT") == "write":
        SNAPSHOT.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    known = json.loads(SNAPSHOT.read_text())
    assert {page: count for page, count in counts.items() if count > known.get(page, 0)} == {}
