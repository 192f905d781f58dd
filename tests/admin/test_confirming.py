"""No action on rows of a list acts at its first press: a page says what it would do."""

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.utils.timezone import now

from billing.models import UsageDaily
from tenants.keys.editing import issue_key
from tenants.models import ApiKey, AuditEntry
from tests.admin.office import Office
from tests.admin.test_pages import url_of
from tests.billing.sums import sum_days

ACTIONS = [
    (model, name)
    for model, pages in admin.site._registry.items()
    for name in pages.actions or ()
    if name != "delete_selected"
]


def chosen(client: Client, model: Any, name: str, *rows: Any, **more: Any) -> Any:
    sent = {"action": name, "_selected_action": [row.pk for row in rows], **more}
    return client.post(url_of(model, "changelist"), sent)


def test_it_works(office: Office, olga: Client) -> None:
    key = office.row(ApiKey)
    page = chosen(olga, ApiKey, "revoke_selected", key).content.decode()
    assert str(key) in page
    assert "cannot be undone" in page
    assert "None of them was used since yesterday" in page
    key.refresh_from_db()
    assert key.revoked_at is None
    answer = chosen(olga, ApiKey, "revoke_selected", key, post="yes")
    assert answer.status_code == 302
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert AuditEntry.objects.filter(verb__startswith="revoke selected").exists()


def test_it_says_how_many_calls_came_with_the_keys(office: Office, olga: Client) -> None:
    first, second = (issue_key(office.acme, name=name)[0] for name in ("one", "two"))
    for key in (first, second):
        UsageDaily.objects.create(tenant=office.acme, day=now().date(), key_id=key.pk, requests=20)
    sum_days(office.acme)
    page = chosen(olga, ApiKey, "revoke_selected", first, second).content.decode()
    assert "40 calls of 1 tenant came with 2 keys of them" in page


@pytest.mark.parametrize(("model", "name"), ACTIONS, ids=lambda part: getattr(part, "__name__", str(part)))
def test_every_action_asks_first(model: Any, name: str, office: Office, olga: Client) -> None:
    row = office.row(model)
    before = type(row)._base_manager.filter(pk=row.pk).values().get()
    page = chosen(olga, model, name, row)
    assert page.status_code == 200
    text = page.content.decode()
    assert 'name="post" value="yes"' in text
    assert "p-effect" in text
    assert type(row)._base_manager.filter(pk=row.pk).values().get() == before
    assert not AuditEntry.objects.filter(verb__startswith=name.replace("_", " ")).exists()


def test_rows_of_others_are_not_named(office: Office) -> None:
    theirs = issue_key(office.umbrella, name="of-umbrella")[0]
    page = chosen(office.client(office.alice), ApiKey, "revoke_selected", theirs, office.row(ApiKey))
    assert "of-umbrella" not in page.content.decode()
