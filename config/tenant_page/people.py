"""The people who look after a tenant, with their roles, and where its alerts go.

Invariant: roles are changed on their own pages, where the person's rights decide.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from billing.models import AlertChannel
from config.site import cells
from config.tenant_page.parts import Link, Section, TabContent, paged, row_link, when
from tenants.models import Membership, Tenant

CHANNELS_SHOWN = 50


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """Memberships and alert channels."""
    members, ways = paged(
        request,
        Membership.objects.filter(tenant=tenant).select_related("user").order_by("role", "user__username"),
    )
    pages: Any = admin.site.get_model_admin(Membership)
    add = f"{reverse('admin:tenants_membership_add')}?tenant={tenant.pk}"
    channels = AlertChannel.objects.filter(tenant=tenant).order_by("name")[:CHANNELS_SHOWN]
    return TabContent(
        links=[Link("Add a person", add, kind="primary")] if pages.has_add_permission(request) else [],
        sections=[
            Section(
                "People",
                {
                    "headers": ["Person", "Role", "E-mail", "Last login", "Account"],
                    "rows": [_member(tenant, one) for one in members],
                    "empty": "Nobody but the operators looks after this tenant.",
                },
            ),
            Section(
                "Alerts go to",
                {
                    "headers": ["Channel", "Kind", "Target", "State"],
                    "rows": [
                        [
                            row_link("billing_alertchannel", one.pk, one.name),
                            one.get_kind_display(),
                            one.target,
                            "on" if one.is_active else "off",
                        ]
                        for one in channels
                    ],
                    "empty": "No channel: its alerts are seen here only.",
                },
                [Link("Add a channel", f"{reverse('admin:billing_alertchannel_add')}?tenant={tenant.pk}")],
            ),
        ],
        **ways,
    )


def _member(tenant: Tenant, member: Membership) -> list[Any]:
    person = member.user
    return [
        row_link("tenants_membership", member.pk, person.get_username()),
        member.get_role_display(),
        person.email or cells.NOTHING,
        when(person.last_login, tenant) if person.last_login else "never",
        "on" if person.is_active else "off",
    ]
