"""The policy tab: each step with its switch, effect and fields, the JSON for experts, and a preview before anything is saved.

Invariant: what is saved is what was previewed, to the letter; form and JSON are judged and stored by the same code.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminTextareaWidget

from config.tenant_page import effects
from config.tenant_page.consequences import consequences
from config.tenant_page.header import header_of
from config.tenant_page.history import differences
from config.tenant_page.parts import tab_url
from tenants.admin.access import IndentedJSON
from tenants.admin.policy_form import PolicyForm
from tenants.models import Tenant
from tenants.people.rights import Right, may_everywhere
from tenants.policies.editing import ChangedMeanwhile, check_change, digest_of, set_policy

MOST_JSON: Final = 100_000
MOST_DIFFERENCES: Final = 60


class JsonForm(forms.Form):
    """The policy as JSON: only what differs from the defaults."""

    policy = forms.JSONField(
        required=False,
        encoder=IndentedJSON,
        label="Policy as JSON",
        help_text="Only what differs from the defaults.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 18, "class": "p-json-field", "maxlength": MOST_JSON}),
    )

    def __init__(self, *args: Any, tenant: Tenant, is_operator: bool, **kwargs: Any) -> None:
        super().__init__(*args, **{"initial": {"policy": tenant.policy or {}}, **kwargs})
        self.tenant, self.is_operator = tenant, is_operator
        self.wanted: dict[str, Any] = tenant.policy or {}

    def clean_policy(self) -> Any:
        policy = self.cleaned_data["policy"] or {}
        check_change(self.tenant.policy, policy, is_operator=self.is_operator)
        self.wanted = policy
        return policy


@dataclass(frozen=True)
class Preview:
    """What a policy would change: field by field, and on the traffic that was."""

    changes: list[tuple[str, Any, Any]]
    table: dict[str, Any]
    previewed: str
    form_id: str
    more: int = 0


@dataclass
class Asked:
    """What came with a POST. `way` is "form" or "json"."""

    way: str = "form"
    is_saving: bool = False
    read: str = ""
    previewed: str = ""
    data: Any = field(default=None)

    @classmethod
    def of(cls, request: HttpRequest) -> "Asked":
        if request.method != "POST":
            return cls()
        post = request.POST
        way = "json" if post.get("way") == "json" else "form"
        return cls(way, post.get("step") == "save", post.get("read", ""), post.get("previewed", ""), post)


def policy_tab(request: HttpRequest, model_admin: Any, tenant_id: int) -> HttpResponse:
    """Show the policy, preview a change of it, or save it."""
    tenant = model_admin.get_object(request, str(tenant_id))
    if tenant is None or not model_admin.has_view_permission(request, tenant):
        raise Http404
    may_change = model_admin.has_change_permission(request, tenant)
    if request.method == "POST" and not may_change:
        raise PermissionDenied
    asked = Asked.of(request)
    whose: dict[str, Any] = {"tenant": tenant, "is_operator": may_everywhere(request, Right.PLATFORM)}
    forms_of: dict[str, Any] = {
        "form": PolicyForm(asked.data if asked.way == "form" else None, **whose),
        "json": JsonForm(asked.data if asked.way == "json" else None, **whose),
    }
    chosen = forms_of[asked.way]
    preview = None
    if asked.data is not None and chosen.is_valid():
        if chosen.wanted == (tenant.policy or {}):
            messages.info(request, "Nothing differs from the policy in force.")
        elif asked.is_saving and asked.previewed == digest_of(chosen.wanted):
            if _save(request, tenant, chosen.wanted, asked):
                return HttpResponseRedirect(tab_url(tenant, "policy"))
        else:
            preview = _preview(tenant, chosen.wanted, asked.way)
    context = {
        **admin.site.each_context(request),
        "title": f"{tenant.name}: Policy",
        "opts": Tenant._meta,
        "original": tenant,
        "is_fullwidth": "1",
        "head": header_of(request, tenant, model_admin=model_admin, tab="policy"),
        "policy_form": forms_of["form"],
        "json_form": forms_of["json"],
        "parts": _parts(tenant, forms_of["form"]),
        "preview": preview,
        "read": asked.read or digest_of(tenant.policy),
        "may_change": may_change,
        "is_json": asked.way == "json",
    }
    return TemplateResponse(request, "admin/tenant/policy.html", context)


def _parts(tenant: Tenant, form: Any) -> list[dict[str, Any]]:
    figures = effects.effects_of(tenant)
    return [
        {
            "days": effects.DAYS_LOOKED_AT,
            "step": step,
            "switch": switch,
            "fields": bound,
            "effects": figures.get(step.name, []),
        }
        for step, switch, bound in form.parts()
    ]


def _preview(tenant: Tenant, wanted: dict[str, Any], way: str) -> Preview:
    found = list(differences("policy", tenant.policy or {}, wanted))
    return Preview(
        changes=[(name, _text(old), _text(new)) for name, old, new in found[:MOST_DIFFERENCES]],
        table=consequences(tenant, wanted),
        previewed=digest_of(wanted),
        form_id=f"policy-{way}",
        more=max(len(found) - MOST_DIFFERENCES, 0),
    )


def _text(value: Any) -> str:
    return "default" if value is None else json.dumps(value, ensure_ascii=False)[:200]


def _save(request: HttpRequest, tenant: Tenant, wanted: dict[str, Any], asked: Asked) -> bool:
    try:
        set_policy(
            tenant,
            wanted,
            read=asked.read,
            is_operator=may_everywhere(request, Right.PLATFORM),
            acting_user=request.user,  # type: ignore[arg-type]  # who may change a tenant is logged in
            reason=asked.data.get("reason", "")[:100],
        )
    except (ChangedMeanwhile, ValidationError) as error:
        messages.error(request, " ".join(getattr(error, "messages", [str(error)])))
        return False
    messages.success(request, "The policy is saved. Every worker follows it within a second.")
    return True
