"""People keep searches of the list of requests under a name of their own, and nobody sees another's."""

from typing import Any

from django.urls import reverse

from llm.admin.receipts.saved_views import MOST_VIEWS
from llm.models import SavedView
from tests.admin.office import Office

LIST = "/admin/llm/requestlog/"
SAVE = "/admin/llm/requestlog/views/"


def save(client: Any, name: str, query: str) -> str:
    return str(client.post(SAVE, {"name": name, "query": query}, follow=True).content.decode())


def test_it_works(office: Office) -> None:
    client = office.client(office.alice)
    page = save(client, "Slow ones of bob", "user=bob&ms=2000&period=30d")
    view = SavedView.objects.get(user=office.alice)
    assert view.query == "user=bob&ms=2000&period=30d"
    assert f'href="?{view.query.replace("&", "&amp;")}" aria-current="page"' in page
    assert "Slow ones of bob" not in office.client(office.fay).get(LIST).content.decode()


def test_only_what_the_filter_bar_offers_is_kept(office: Office) -> None:
    client = office.client(office.alice)
    save(client, "Odd", "user=bob&evil=1&outcome=nothing&tenant=umbrella&period=7d")
    assert SavedView.objects.get(name="Odd").query == "user=bob"


def test_a_view_of_the_same_name_is_replaced(office: Office) -> None:
    client = office.client(office.alice)
    for query in ("user=bob", "user=carol"):
        save(client, "Mine", query)
    assert [view.query for view in SavedView.objects.filter(user=office.alice)] == ["user=carol"]


def test_nobody_keeps_more_than_so_many(office: Office) -> None:
    client = office.client(office.alice)
    for number in range(MOST_VIEWS):
        SavedView.objects.create(user=office.alice, name=f"view {number}", query="")
    assert "delete one first" in save(client, "one more", "user=bob")
    assert SavedView.objects.filter(user=office.alice).count() == MOST_VIEWS
    assert "is kept" in save(client, "view 3", "user=bob")


def test_a_view_keeps_no_key(office: Office) -> None:
    page = save(office.client(office.alice), "leak", "q=psr_0123456789abcdef_abcdefghijklmnopqrstuvwx")
    assert "does not keep a key" in page
    assert not SavedView.objects.exists()


def test_a_view_is_deleted_by_its_owner_alone(office: Office) -> None:
    view = SavedView.objects.create(user=office.alice, name="mine", query="user=bob")
    url = reverse("admin:llm_requestlog_delete_view", args=(view.pk,))
    office.client(office.fay).post(url)
    assert SavedView.objects.filter(pk=view.pk).exists()
    assert office.client(office.alice).get(url).status_code == 405
    office.client(office.alice).post(url)
    assert not SavedView.objects.filter(pk=view.pk).exists()


def test_a_stranger_keeps_nothing(office: Office, client: Any) -> None:
    assert client.post(SAVE, {"name": "x", "query": ""}).status_code == 302
    assert "is kept" not in save(client, "x", "")
    assert not SavedView.objects.exists()
