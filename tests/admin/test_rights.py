"""Every role opens and changes what the table says, and no more: `rights.txt`, which a person can read.

A new page, or a changed right, changes the table: write it with SNAPSHOT=write, and read the difference.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client

from tenants.models import Membership, PlatformRole
from tenants.people.rights import PLATFORM_ROLES, TENANT_ROLES, Right
from tests.admin.office import Office
from tests.admin.test_pages import url_of

TABLE = Path(__file__).parent / "rights.txt"
ROLES = ("superuser", *(f"platform {role}" for role in PLATFORM_ROLES), *TENANT_ROLES, "stranger")


@pytest.fixture
def people(office: Office) -> dict[str, User]:
    """Somebody of each role; those of tenants are in acme."""
    found = {}
    for role in ROLES:
        person = User.objects.create(username=f"role-{role}", is_staff=True, is_superuser=role == "superuser")
        if role.startswith("platform "):
            PlatformRole.objects.create(user=person, role=role.removeprefix("platform "))
        elif role in TENANT_ROLES:
            Membership.objects.create(user=person, tenant=office.acme, role=role)
        found[role] = person
    return found


def test_it_works(people: dict[str, User], office: Office) -> None:
    """What a person does with one page: see its rows, change them, press its buttons."""
    assert (
        done_with(office.client(people["platform finance"]), office, row_model("billingperiod"))
        == "see press"
    )
    assert done_with(office.client(people["platform reader"]), office, row_model("billingperiod")) == "see"
    assert done_with(office.client(people["member"]), office, row_model("billingperiod")) == "-"


def test_every_page_as_every_role_is_what_the_table_says(people: dict[str, User], office: Office) -> None:
    clients = {role: office.client(person) for role, person in people.items()}
    lines = [f"{'':32}" + "".join(f"{role:24}" for role in ROLES)]
    for model in sorted(admin.site._registry, key=lambda one: one._meta.label):
        cells = [done_with(client, office, model) for client in clients.values()]
        lines.append(f"{model._meta.label:32}" + "".join(f"{cell:24}" for cell in cells))
    written = "\n".join(line.rstrip() for line in lines) + "\n"
    if os.environ.get("SNAPSHOT") == "write":
        TABLE.write_text(written)
    assert written == TABLE.read_text()


def test_no_role_but_those_that_look_after_texts_reads_them() -> None:
    readers = {
        role
        for table in (PLATFORM_ROLES, TENANT_ROLES)
        for role, given in table.items()
        if Right.READ_TEXTS in given
    }
    assert readers == {"operator", "owner"}
    assert Right.BOOK not in PLATFORM_ROLES["support"] | PLATFORM_ROLES["operator"]
    assert {Right.CONFIGURE, Right.CLOSE}.isdisjoint(PLATFORM_ROLES["support"] | PLATFORM_ROLES["reader"])


def test_a_role_that_is_taken_away_is_gone_at_once(people: dict[str, User], office: Office) -> None:
    client = office.client(people["platform support"])
    assert client.get(url_of(row_model("budget"), "changelist")).status_code == 200
    PlatformRole.objects.filter(user=people["platform support"]).delete()
    assert client.get(url_of(row_model("budget"), "changelist")).status_code == 403


def row_model(name: str) -> Any:
    return next(model for model in admin.site._registry if model._meta.model_name == name)


def done_with(client: Client, office: Office, model: Any) -> str:
    """What the browser gets, and what its buttons would: "see add change press", or "-"."""
    listed = client.get(url_of(model, "changelist"))
    row, pages, done = office.row(model), admin.site._registry[model], []
    request = listed.wsgi_request
    if listed.status_code == 200:
        shown = client.get(url_of(model, "change", row.pk)) if row is not None else listed
        done += ["see"] if shown.status_code == 200 else []
    if client.get(url_of(model, "add")).status_code == 200:
        done.append("add")
    if done and pages.has_change_permission(request, row):
        done.append("change")
    buttons = (*pages.actions_detail, *pages.actions_list, *(pages.actions or ()))
    if done and buttons and pages.has_operate_permission(request, row):
        done.append("press")
    return " ".join(done) or "-"
