"""The pages of tenants: the list, the tabs of each, and the form of its settings among them.

Invariant: a tab is shown to who may see the tenant, and to nobody else; each has its own address.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.admin.tenants import TenantWithMoneyAdmin
from config.tenant_page import (
    budgets,
    history,
    keys,
    limits,
    overview,
    people,
    reports,
    requests,
    users,
)
from config.tenant_page import key_page as key_page
from config.tenant_page.header import TABS, header_of
from config.tenant_page.parts import TabContent
from config.tenant_page.policy import policy_tab
from tenants.admin.columns import AlignedChangeList
from tenants.admin.previews import PreviewsChanges
from tenants.models import Tenant

CONTENTS: Final[dict[str, Callable[[HttpRequest, Tenant], TabContent]]] = {
    "overview": overview.content,
    "keys": keys.content,
    "users": users.content,
    "budgets": budgets.content,
    "requests": requests.content,
    "reports": reports.content,
    "people": people.content,
    "history": history.content,
}
STATUS_VERBS: Final = ("pause", "suspend", "resume")


def tab(name: str) -> Callable[..., HttpResponse]:
    """The view of a tab."""

    def view(request: HttpRequest, model_admin: "TenantPages", tenant_id: int) -> HttpResponse:
        tenant = model_admin.get_object(request, str(tenant_id))
        if tenant is None or not model_admin.has_view_permission(request, tenant):
            raise Http404
        title = dict(TABS)[name]
        context = {
            **admin.site.each_context(request),
            "title": f"{tenant.name}: {title}",
            "opts": Tenant._meta,
            "original": tenant,
            "is_fullwidth": "1",
            "head": header_of(request, tenant, model_admin=model_admin, tab=name),
            "content": CONTENTS[name](request, tenant),
        }
        return TemplateResponse(request, "admin/tenant/tab.html", context)

    return view


class TenantChangeList(AlignedChangeList):
    """The list of tenants; a row leads to the tenant's story."""

    def url_for_result(self, result: Any) -> str:
        return reverse("admin:tenants_tenant_overview", args=(result.pk,))


admin.site.unregister(Tenant)


@admin.register(Tenant)
class TenantPages(PreviewsChanges, TenantWithMoneyAdmin):
    """Tenants: the list, the story of each in tabs, and its settings."""

    custom_urls = (
        *((f"<int:tenant_id>/{name}/", f"tenants_tenant_{name}", tab(name)) for name in CONTENTS),
        ("<int:tenant_id>/policy/", "tenants_tenant_policy", policy_tab),
    )
    change_form_template = "admin/tenant/settings.html"
    front_page: ClassVar[str] = "overview"  # where a button of a tenant leads back to

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[AlignedChangeList]:
        return TenantChangeList

    def needs_preview(self, form: Any, former: Tenant | None) -> bool:
        return limits.changes_limits(form, former)

    def preview_of(self, row: Tenant, former: Tenant) -> dict[str, Any]:
        return limits.preview_of_tenant(row, former)

    def status_verbs(self, request: HttpRequest, tenant: Tenant) -> list[Any]:
        """The buttons that change whether the tenant is served, those that do something now."""
        return [
            verb
            for verb in self.get_actions_detail(request, tenant.pk)
            if verb.action_name.rsplit("_", 1)[-1] in STATUS_VERBS
        ]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if tenant := options.get("obj"):
            context["head"] = header_of(request, tenant, model_admin=self, tab="change")
            context["actions_detail"] = []  # they stand in the head
        return super().render_change_form(request, context, *args, **options)
