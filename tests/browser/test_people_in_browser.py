"""The admin's pages of people in a real browser: the audit log, invitations and identity providers, as full as they get."""

import secrets
from datetime import timedelta
from typing import Any

import pytest
from django.utils.timezone import now

from tenants.models import IdentityProvider, Invitation, Tenant
from tenants.people import audit
from tests.browser.visits import WINDOWS, Window, judge, keep_picture, needs_axe, needs_chromium, visitor
from tests.world import Operator, World

pytestmark = [*needs_chromium, needs_axe]


@pytest.fixture
def paths(make_tenant: Any) -> list[str]:
    """Lists, forms and pages of rows with long values."""
    tenant = Tenant.objects.get(pk=make_tenant("people").id)
    name = secrets.token_hex(8)
    invitation = Invitation.objects.create(
        tenant=tenant,
        email=f"somebody.with.a.long.name.{name}@a-subsidiary.of-a-company.example",
        role="owner",
        person=f"a-person-of-the-company-{name}",
        token_hash=secrets.token_bytes(32),
        expires_at=now() + timedelta(days=7),
    )
    provider = IdentityProvider.objects.create(
        name="A company with a long name",
        slug=f"company-{name}",
        issuer=f"https://login.a-company.example/realms/{name}/with/a/long/path",
        client_id=f"purser-{name}",
        domains=[f"department-{number}.a-company.example" for number in range(8)],
        tenant=tenant,
        is_active=False,  # the tests that run beside this one see the same page for signing in
    )
    changes = {
        "name": ["Acme", "Acme GmbH"],
        "policy": [{"cache": {"semantic": "off"}}, {"cache": {"semantic": "bounded", "threshold": 0.9}}],
        "models": [["*"], [f"a-model-with-a-long-name-{number}" for number in range(20)]],
        "is_active": [True, False],
        "description": ["", "x" * 400],
    }
    entry = audit.record("changed", about=tenant, changes=changes, reason="as the contract says " * 8)
    lists = [f"/admin/tenants/{table}/" for table in ("auditentry", "invitation", "identityprovider")]
    return [
        *lists,
        *(f"{path}{row.pk}/change/" for path, row in zip(lists, (entry, invitation, provider), strict=True)),
        *(f"{path}add/" for path in lists[1:]),
    ]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_it_works(world: World, paths: list[str], operator_account: Operator, window: Window) -> None:
    problems: list[str] = []
    with visitor(world.stack.base_url, operator_account, window) as page:
        for path in paths:
            assert page.goto(path).status == 200
            keep_picture(
                page, f"{path.removeprefix('/admin/tenants/').strip('/').replace('/', '-')}-{window}"
            )
            if page.evaluate("document.documentElement.scrollWidth") > window.width:
                problems.append(f"{path} is wider than its window")
            problems += judge(page)
            if "/auditentry/" in path and path.endswith("/change/"):
                sides = page.inner_text(".p-sides")
                assert all(text in sides for text in ('{"cache": {"semantic": "off"}}', "yes", "no")), sides
    assert problems == []
