"""The number of queries of every page, as it was when it was last looked at. More is a regression, fewer a new snapshot.

`SNAPSHOT=write make test ARGS=tests/admin/test_query_counts.py` writes it anew.
"""

import json
import os
from pathlib import Path

from django.contrib import admin
from django.urls import reverse

from tests.admin.office import Office
from tests.admin.test_pages import PAGES, label, query_count, url_of

SNAPSHOT = Path(__file__).with_name("query_counts.json")


def counted(office: Office) -> dict[str, int]:
    client = office.client(office.olga)
    request = client.get(reverse("admin:index")).wsgi_request  # and what is asked once is known now
    counts = {"home": query_count(client, reverse("admin:index"))}
    counts["month report"] = query_count(client, reverse("admin:billing_reports") + "?tenant=acme")
    for model in PAGES:
        counts[f"{label(model)} list"] = query_count(client, url_of(model, "changelist"))
        if row := office.row(model):
            counts[f"{label(model)} page"] = query_count(client, url_of(model, "change", row.pk))
        if admin.site._registry[model].has_add_permission(request):
            counts[f"{label(model)} form"] = query_count(client, url_of(model, "add"))
    return counts


def test_it_works(office: Office) -> None:
    counts = counted(office)
    if os.environ.get("SNAPSHOT") == "write":
        SNAPSHOT.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    assert counts == json.loads(SNAPSHOT.read_text())
