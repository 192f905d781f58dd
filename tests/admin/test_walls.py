"""Whoever may read a tenant, or write in another, writes nothing in it, and hears of no tenant that is not theirs.

Every page of the registry is tried, so that a page which is added is tried by itself. Mia is owner of umbrella and
finance of acme; the rows are acme's.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import models
from django.forms import ModelChoiceField, model_to_dict
from django.test import Client
from django.urls import reverse

from billing.models import AlertChannel, AlertRule, Budget
from tenants.admin.access import TenantScopedAdmin
from tenants.models import ApiKey, EndUser, Membership
from tenants.people.rights import TENANT_ROLES
from tests.admin.office import Office
from tests.admin.pressing import SUBMITTED
from tests.admin.test_pages import url_of

FINANCE = TENANT_ROLES[Membership.Role.FINANCE]
SCOPED = [model for model, page in admin.site._registry.items() if isinstance(page, TenantScopedAdmin)]
# what finance, which Mia is in acme, may write there
READ_ONLY = [model for model in SCOPED if admin.site._registry[model].changed_with not in FINANCE]
REASON = {
    **SUBMITTED,
    "reason": "because",
    "grace_hours": 1,
    "extra_amount": 1,
    "ends_at": "2099-01-01T00:00",
    "hours": 1,
}


@pytest.fixture
def mia(office: Office) -> User:
    mia = User.objects.create(username="mia", is_staff=True)
    Membership.objects.create(user=mia, tenant=office.umbrella, role="owner")
    Membership.objects.create(user=mia, tenant=office.acme, role="finance")
    return mia


def pages_of(model: type[models.Model]) -> TenantScopedAdmin:
    pages = admin.site._registry[model]
    assert isinstance(pages, TenantScopedAdmin)
    return pages


def offered_by(pages: TenantScopedAdmin) -> list[str]:
    """The look-ups of a list's filters."""
    items = [item[0] if isinstance(item, tuple) else item for item in pages.list_filter]
    return [item if isinstance(item, str) else item.parameter_name for item in items]


def request_of(client: Client) -> Any:
    """A request of somebody who is logged in, to the page that costs least."""
    return client.get(reverse("admin:jsi18n")).wsgi_request


def stored(row: models.Model) -> list[dict[str, Any]]:
    return list(type(row)._default_manager.filter(pk=row.pk).values())


def copied(row: models.Model) -> dict[str, Any]:
    """What a form is filled in with to make the same row again."""
    filled = {name: value for name, value in model_to_dict(row).items() if value not in (None, "")}
    return {name: posted(value) for name, value in filled.items()}


def posted(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], models.Model):
        return [row.pk for row in value]
    return json.dumps(value) if isinstance(value, list | dict) else value


def test_it_works(office: Office, mia: User) -> None:
    client = office.client(mia)
    fields = {
        "tenant": office.acme.pk,
        "name": "theirs",
        "models": "[]",
        "ip_allow_list": "[]",
        "rate_limits": "{}",
    }
    refused = client.post(url_of(ApiKey, "add"), fields)
    assert "Select a valid choice" in refused.content.decode()
    assert not ApiKey.objects.filter(name="theirs").exists()
    assert client.post(url_of(ApiKey, "add"), {**fields, "tenant": office.umbrella.pk}).context["secret"]
    assert ApiKey.objects.filter(name="theirs", tenant=office.umbrella).exists()


def test_a_reader_changes_no_row(office: Office, mia: User) -> None:
    for model in READ_ONLY:
        client, row = office.client(mia), office.row(model)
        before = stored(row)
        may_see = pages_of(model).seen_with in FINANCE
        assert client.get(url_of(model, "change", row.pk)).status_code == (200 if may_see else 302)
        filled = copied(row)
        assert client.post(url_of(model, "change", row.pk), filled).status_code == 403
        assert client.post(url_of(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        assert stored(row) == before


def test_a_reader_presses_no_button(office: Office, mia: User) -> None:
    for model in SCOPED:
        client, row, pages = office.client(mia), office.row(model), pages_of(model)
        for name in pages.actions_detail:
            needed = getattr(getattr(pages, name), "allowed_permissions", ["view"])
            if needed == ["view"] or (needed == ["operate"] and pages.operated_with in FINANCE):
                continue
            url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=(row.pk,))
            before, answer = stored(row), client.post(url, REASON)
            # "Issue key" leads to an empty form, which offers only what may be written
            assert answer.status_code in (403, 404) or (name == "issue_key" and answer.status_code == 302), (
                name
            )
            assert stored(row) == before, name


def test_a_reader_runs_no_action_on_rows(office: Office, mia: User) -> None:
    for model in SCOPED:
        client, row, pages = office.client(mia), office.row(model), pages_of(model)
        for name in pages.get_actions(request_of(office.client(office.olga))):
            if name == "delete_selected" and pages.changed_with in FINANCE:
                continue  # what finance keeps, it removes
            before = stored(row)
            client.post(
                url_of(model, "changelist"), {"action": name, "_selected_action": [row.pk], "post": "yes"}
            )
            assert stored(row) == before, name


def test_a_form_offers_only_what_may_be_written(office: Office, mia: User) -> None:
    for model in SCOPED:
        pages, request = pages_of(model), request_of(office.client(mia))
        if not pages.has_add_permission(request):
            continue
        fields = pages.get_form(request).base_fields.values()
        for choice in (each for each in fields if isinstance(each, ModelChoiceField)):
            related = admin.site._registry.get(choice.queryset.model)
            if isinstance(related, TenantScopedAdmin):
                tenants = choice.queryset.order_by().values_list(related.tenant_path, flat=True)
                mine = {office.umbrella.pk} if model in READ_ONLY else {office.umbrella.pk, office.acme.pk}
                assert set(tenants) <= mine, choice.label


def test_a_reader_adds_no_row(office: Office, mia: User) -> None:
    for model in READ_ONLY:
        client, row = office.client(mia), office.row(model)
        before = model._default_manager.count()
        answer = client.post(url_of(model, "add"), copied(row))
        assert answer.status_code == 403 or "tenant" in answer.context["adminform"].form.errors
        assert model._default_manager.count() == before


@dataclass
class Answered:
    """A form that forgot to restrict its choices."""

    row: models.Model
    cleaned_data: dict[str, Any] = field(default_factory=dict)

    def save(self, commit: bool) -> models.Model:
        return self.row


def test_what_a_form_lets_through_is_looked_at_again(office: Office, mia: User) -> None:
    request = request_of(office.client(mia))
    for model in READ_ONLY:
        with pytest.raises(PermissionDenied):
            pages_of(model).save_form(request, Answered(office.row(model)), change=False)
    own, theirs = AlertRule(tenant=office.umbrella), office.row(AlertChannel)
    for chosen in (theirs, AlertChannel.objects.filter(pk=theirs.pk)):
        with pytest.raises(PermissionDenied):
            pages_of(AlertRule).save_form(request, Answered(own, {"channels": chosen}), change=False)
    assert pages_of(AlertRule).save_form(request, Answered(own), change=False) is own


def test_a_row_stays_with_its_tenant(office: Office) -> None:
    for model in SCOPED:
        pages, request, row = pages_of(model), request_of(office.client(office.olga)), office.row(model)
        if pages.has_change_permission(request, row):
            assert "tenant" not in pages.get_form(request, row, change=True).base_fields


def test_a_user_cannot_be_moved_by_an_owner_of_both(office: Office) -> None:
    alice = office.alice
    Membership.objects.create(user=alice, tenant=office.umbrella, role="owner")
    user = office.row(EndUser)
    fields = {"tenant": office.umbrella.pk, "external_id": user.external_id, "is_active": "on"}
    assert office.client(alice).post(url_of(EndUser, "change", user.pk), fields).status_code == 302
    user.refresh_from_db()
    assert user.tenant == office.acme


def test_two_rows_of_a_tenant_keep_different_names(office: Office, olga: Client) -> None:
    """The tenant is only shown in a changed row's form, and still counts."""
    user = office.row(EndUser)
    EndUser.objects.create(tenant=office.acme, external_id="taken")
    answer = olga.post(url_of(EndUser, "change", user.pk), {"external_id": "taken"})
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors


def test_the_search_of_a_form_offers_what_may_be_written(office: Office, mia: User) -> None:
    query = {"app_label": "billing", "model_name": "budget", "field_name": "tenant", "term": ""}
    client = office.client(mia)

    def found(**more: str) -> set[str]:
        answer = client.get(reverse("admin:autocomplete"), {**query, **more}).json()
        return {result["text"] for result in answer["results"]}

    page = client.get(url_of(Budget, "add")).content.decode()
    assert f"{reverse('admin:autocomplete')}?to_write=1" in page
    assert found(to_write="1") == {"umbrella"}
    assert found() == {"acme", "umbrella"}


def test_no_filter_names_another_tenant(office: Office) -> None:
    """Whatever a filter is given."""
    charlie, chosen = office.client(office.charlie), str(office.acme.pk)
    for model in SCOPED:
        for path in offered_by(pages_of(model)):
            query = f"{path}__id__exact" if path.endswith("tenant") else f"{path}__exact"
            page = charlie.get(url_of(model, "changelist"), {query: chosen}, follow=True).content.decode()
            assert ">acme<" not in "".join(page.split()), (model, query)


def test_only_what_a_filter_offers_can_be_looked_up(office: Office) -> None:
    """No column can be guessed letter by letter, and no relation be followed."""
    for model in SCOPED:
        pages, request = pages_of(model), request_of(office.client(office.fay))
        offered = {path.split("__")[0] for path in offered_by(pages)}
        for column in model._meta.get_fields():
            if column.name not in offered:
                for lookup in (column.name, f"{column.name}__startswith", f"{column.name}__tenant__slug__gt"):
                    assert not pages.lookup_allowed(lookup, "a", request), lookup


def test_a_secret_cannot_be_guessed_by_a_filter(office: Office) -> None:
    client = office.client(office.fay)
    for query in (
        "secret_hash__gt",
        "tenant__history__name",
        "tenant__memberships__user__password__startswith",
    ):
        assert client.get(url_of(ApiKey, "changelist"), {query: "a"}).status_code in (302, 400)
