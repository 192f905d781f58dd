"""The newest requests of a tenant, and the ways to find others.

Invariant: the newest rows of the log are read and no more; what is looked for is found by the list of requests.
"""

from django.http import HttpRequest

from config.tenant_page.overview import requests_table
from config.tenant_page.parts import Link, Section, TabContent, list_url, paged
from llm.admin.receipts.finding import VIEWS
from llm.models import RequestLog
from tenants.models import Tenant


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """The newest requests, and the views of the list that finds them."""
    entries, ways = paged(request, RequestLog.objects.filter(tenant=tenant).order_by("-at").defer("receipt"))
    views = [
        Link(title, list_url("llm_requestlog", tenant=tenant.slug, **choice))
        for title, choice in VIEWS
        if choice
    ]
    find = Link("Find requests", list_url("llm_requestlog", tenant=tenant.slug), kind="primary")
    return TabContent(
        links=[find, *views],
        sections=[Section("Newest requests", requests_table(tenant, entries))],
        **ways,
    )
