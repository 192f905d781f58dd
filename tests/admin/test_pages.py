"""Every page of every table opens, with a number of queries that does not grow with the rows."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.admin.filling import HOOK_SECRET, PROVIDER_KEY, fill
from tests.admin.filling_apart import STORAGE_SECRET
from tests.admin.office import Office

OURS = ("tenants", "billing", "caching", "llm")
PAGES = [model for model in admin.site._registry if model._meta.app_label in (*OURS, "auth")]
# Session, user and content type come on top of what a page asks for itself.
LIST_QUERIES, FORM_QUERIES, HOME_QUERIES, REPORT_QUERIES = 12, 18, 26, 19


def url_of(model: type[models.Model], page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


def query_count(client: Any, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return len(queries)


def label(model: type[models.Model]) -> str:
    return model._meta.label_lower


def test_it_works(office: Office) -> None:
    client = office.client(office.olga)
    assert query_count(client, reverse("admin:index")) <= HOME_QUERIES
    page = client.get(reverse("admin:index")).content.decode()
    assert "From list price to what is paid" in page
    assert "One request cost 2 USD" in page


# Shown in the page of what they belong to, or (the last) of nobody's business but the product's.
WITHOUT_A_PAGE = {
    "deployment",
    "usageline",
    "costreportline",
    "statementline",
    "statementfile",
    "reratingrow",
    "pricecheck",
    "alertfinding",
    "alertstep",
    "usagespan",
    "watchclock",
    "rulecheck",
    "chargebacksheet",
    "monthfile",
    "monthjob",
    "receipttree",
    "certificate",
    "certificateannex",
    "periodsum",
    "tagvalue",
    "runtags",
    "idempotentcall",
    "lanedelay",
    "batchprogress",
    "cachescopeday",
    "cachethresholdpoint",
    "usagesum",
    "forecasttrial",
    "featureevent",
    "featureday",
    "requesttally",
    "requestday",
    "savedview",
    "platformrole",
}


def test_every_table_has_a_page() -> None:
    """But the histories, which stand in their objects' pages, and what is part of something else."""
    ours = {model for app in OURS for model in apps.get_app_config(app).get_models()}
    tables = {model for model in ours if not model.__name__.startswith("Historical")}
    assert {model._meta.model_name for model in tables - set(admin.site._registry)} <= WITHOUT_A_PAGE


@pytest.mark.parametrize("model", PAGES, ids=label)
def test_the_list_opens_with_bounded_queries(model: type[models.Model], office: Office) -> None:
    client = office.client(office.olga)
    one = query_count(client, url_of(model, "changelist"))
    for _ in range(2):
        fill(office, office.acme)
    several = query_count(client, url_of(model, "changelist"))
    assert several <= one, "the list asks again for each row"
    assert one <= LIST_QUERIES


def test_the_lists_can_be_searched(office: Office) -> None:
    client = office.client(office.olga)
    for model in PAGES:
        query = {"q": "0197a3a0-0000-7000-8000-000000000001"}
        assert client.get(url_of(model, "changelist"), query).status_code == 200, model


@pytest.mark.parametrize("model", PAGES, ids=label)
def test_the_form_opens_with_bounded_queries(model: type[models.Model], office: Office) -> None:
    client = office.client(office.olga)
    row = office.row(model)
    if row is not None:
        assert query_count(client, url_of(model, "change", row.pk)) <= FORM_QUERIES
        assert client.get(url_of(model, "history", row.pk)).status_code == 200
    model_admin = admin.site._registry[model]
    request = client.get(reverse("admin:index")).wsgi_request
    if model_admin.has_add_permission(request):
        assert query_count(client, url_of(model, "add")) <= FORM_QUERIES
    else:
        assert client.get(url_of(model, "add")).status_code == 403


def test_no_page_shows_a_secret(office: Office) -> None:
    client = office.client(office.olga)
    for model in PAGES:
        urls = [url_of(model, "changelist")]
        if row := office.row(model):
            urls += [url_of(model, "change", row.pk), url_of(model, "history", row.pk)]
        for url in urls:
            page = client.get(url).content.decode()
            for secret in (PROVIDER_KEY, HOOK_SECRET, STORAGE_SECRET, "AKIA-x", "a prompt nobody may read"):
                assert secret not in page, url


READ_ONLY = (
    "usagerecord", "attempt", "usagedaily", "budgetwindow", "billingperiod", "rollupdirty", "alertevent", "alertdelivery",
    "reportdelivery",
    "costreport", "costcomparison",
    "requestlog", "feedback", "batch", "batchjob", "batchitem", "deferredjob", "askedquestion",
    "storedfile", "keptresponse", "storedchat",
    "cachescope", "cachelabel", "cachestat",
)  # fmt: skip


def test_what_the_product_writes_is_read_only(office: Office) -> None:
    client = office.client(office.olga)
    for model in (model for model in PAGES if model._meta.model_name in READ_ONLY):
        row = office.row(model)
        assert client.post(url_of(model, "add"), {}).status_code == 403, model
        assert client.post(url_of(model, "change", row.pk), {}).status_code == 403, model
        assert client.post(url_of(model, "delete", row.pk), {"post": "yes"}).status_code == 403, model
        assert model.objects.filter(pk=row.pk).exists(), model


def test_the_report_page_opens_with_bounded_queries(office: Office) -> None:
    client = office.client(office.olga)
    url = reverse("admin:billing_reports") + "?tenant=acme"
    assert query_count(client, url) <= REPORT_QUERIES
    assert "From list price to what is paid" in client.get(url).content.decode()


def test_the_search_finds_a_page(office: Office) -> None:
    response = office.client(office.olga).get(reverse("admin:search"), {"s": "budget"})
    assert "Budgets" in response.content.decode()


def test_nobody_enters_without_logging_in(db: None, client: Any) -> None:
    for model in PAGES:
        assert client.get(url_of(model, "changelist")).status_code == 302
    assert client.get(reverse("admin:billing_reports")).status_code == 302


def test_a_filter_with_a_name_of_its_own_filters(office: Office) -> None:
    client = office.client(office.olga)
    url = reverse("admin:billing_usagerecord_changelist")
    assert client.get(url, {"certainty": "unread"}).status_code == 200
    assert client.get(url, {"certainties": "unread"}).status_code == 400
