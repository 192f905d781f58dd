"""Admin pages of the semantic cache: its entries, each scope's threshold and evidence, and counts of look-ups.

It owns pages. It does not own the figures on them (`figures`).

Invariant: entries can only be read and removed here. The learnt state of a scope is never edited by hand.
"""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import (
    BooleanRadioFilter,
    ChoicesCheckboxFilter,
    FieldTextFilter,
    RangeDateTimeFilter,
)
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from caching.admin import figures as admin_figures
from caching.models import CacheEntry, CacheLabel, CacheScope, CacheStat
from caching.semantic.eviction import purge
from tenants.admin.access import WRITING_ROLES, ReadOnlyAdmin, tenants_of
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.dialogs import dialog_action
from tenants.models import Tenant


class PurgeForm(BaseDialogForm):
    """Which answers of which tenant to remove. An answer must match every given condition."""

    tenant = forms.ModelChoiceField(queryset=Tenant.objects.none(), widget=UnfoldAdminSelectWidget())
    model = forms.CharField(
        required=False, widget=UnfoldAdminTextInputWidget(), help_text="Empty: of any model."
    )
    prompt_version = forms.CharField(
        required=False, widget=UnfoldAdminTextInputWidget(), help_text="Empty: of any version."
    )
    containing = forms.CharField(
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        label="Question contains",
        help_text="Empty: any question.",
    )
    older_than_hours = forms.IntegerField(
        required=False,
        min_value=0,
        widget=UnfoldAdminIntegerFieldWidget(),
        label="Older than, hours",
        help_text="Empty: of any age.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["tenant"].queryset = tenants_of(self.request, roles=WRITING_ROLES)


@admin.register(CacheEntry)
class CacheEntryAdmin(ReadOnlyAdmin):
    """Cached answers, last used first."""

    list_display = (
        "shown_question", "tenant", "model", "circle", "hits", "list_cost", "last_hit_at", "expires_at"
    )  # fmt: skip
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("model", FieldTextFilter),
        ("circle", FieldTextFilter),
        ("last_hit_at", RangeDateTimeFilter),
    )
    list_select_related = ("tenant",)
    ordering = ("-last_hit_at",)
    search_fields = ("question", "request_id")
    readonly_fields = ("neighbours",)
    actions = ("forget",)
    actions_list = ("purge_tenant",)
    fieldsets = (
        (None, {"fields": ("question", ("tenant", "circle"), ("endpoint", "route"), ("model", "provider"))}),
        ("Use", {"fields": (("hits", "list_cost_usd"), ("created_at", "last_hit_at"), "expires_at")}),
        ("Neighbours", {"fields": ("neighbours",)}),
        (
            "Traces",
            {"fields": (("embedder", "prompt_version"), ("request_id", "key_id"), "confirmed_by", "usage")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[CacheEntry]:
        return super().get_queryset(request).defer("vector", "answer")

    @display(description="Question")
    def shown_question(self, entry: CacheEntry) -> str:
        return str(entry)

    @display(description="Nearest in its scope")
    def neighbours(self, entry: CacheEntry) -> str:
        return admin_figures.neighbours_of(entry)

    @display(description="Worth", ordering="list_cost_usd")
    def list_cost(self, entry: CacheEntry) -> str:
        return f"${entry.list_cost_usd.normalize():f}"

    @admin.action(description="Forget the selected answers", permissions=["operate"])
    def forget(self, request: HttpRequest, queryset: QuerySet[CacheEntry]) -> None:
        removed, _ = queryset.delete()
        self.message_user(request, f"{removed} answers forgotten.")

    @dialog_action(
        "Purge…",
        "delete_sweep",
        title="Forget a tenant's cached answers?",
        text="The exact cache of the tenant is emptied as well. It can only cost later misses.",
        submit="Forget them",
        form=PurgeForm,
        is_destructive=True,
    )
    def purge_tenant(self, request: HttpRequest, form: PurgeForm) -> str:
        chosen = form.cleaned_data
        hours = chosen["older_than_hours"]
        removed = purge(
            chosen["tenant"].pk,
            model=chosen["model"] or None,
            prompt_version=chosen["prompt_version"] or None,
            containing=chosen["containing"] or None,
            older_than=None if hours is None else timedelta(hours=hours),
        )
        return f"{removed} answers of {chosen['tenant']} forgotten."


@admin.register(CacheScope)
class CacheScopeAdmin(ReadOnlyAdmin):
    """The learnt state of each scope: the certainty from which answers may be reused."""

    list_display = (
        "route", "tenant", "circle", "state", "threshold", "max_error_rate", "upper_bound", "labels", "updated_at"
    )  # fmt: skip
    list_filter = (("tenant", SeenRowsFilter), ("route", FieldTextFilter))
    list_select_related = ("tenant",)
    search_fields = ("route", "circle")
    readonly_fields = (
        "digest",
        "wrong_hits",
        "noise",
        "money",
        "thresholds",
        "dry_run",
        "static_thresholds",
        "entries",
    )
    fieldsets = (
        (None, {"fields": (("tenant", "circle"), ("endpoint", "route"), ("embedder", "prompt_version"), "digest")}),
        (
            "Bound",
            {"fields": (("threshold", "max_error_rate"), ("error_rate", "error_rate_upper"),
                        ("labels", "updated_at"), "wrong_hits", "noise")},
        ),
        ("Last 30 days", {"fields": ("money",)}),
        ("Threshold over time", {"fields": ("thresholds",)}),
        ("What would have been", {"fields": ("dry_run", "static_thresholds")}),
        ("Most used", {"fields": ("entries",)}),
    )  # fmt: skip

    @display(description="Wrong hits, of those checked (90 % interval)")
    def wrong_hits(self, scope: CacheScope) -> str:
        return admin_figures.wrong_hits_of(scope)

    @display(description="Judge's noise floor")
    def noise(self, scope: CacheScope) -> str:
        return admin_figures.noise_of(scope)

    @display(description="Money")
    def money(self, scope: CacheScope) -> str:
        return admin_figures.money_of(scope)

    @display(description="Points")
    def thresholds(self, scope: CacheScope) -> str:
        return admin_figures.thresholds_of(scope)

    @display(description="Wrong in a dry run, of what it would have served (90 % interval)")
    def dry_run(self, scope: CacheScope) -> str:
        return admin_figures.dry_run_of(scope)

    @display(description="Static thresholds, by the labels")
    def static_thresholds(self, scope: CacheScope) -> str:
        return admin_figures.static_thresholds_of(scope)

    @display(description="Entries")
    def entries(self, scope: CacheScope) -> str:
        return admin_figures.entries_of(scope)

    @display(description="Digest")
    def digest(self, scope: CacheScope) -> str:
        return bytes(scope.scope_digest).hex()[:16]

    @display(description="State", label={"open": "success", "closed": "warning"})
    def state(self, scope: CacheScope) -> str:
        return "closed" if scope.threshold is None else "open"

    @display(description="Wrong, upper bound", ordering="error_rate_upper")
    def upper_bound(self, scope: CacheScope) -> str:
        return "–" if scope.error_rate_upper is None else f"{100 * scope.error_rate_upper:.2f} %"


@admin.register(CacheLabel)
class CacheLabelAdmin(ReadOnlyAdmin):
    """The evidence behind the thresholds."""

    list_display = ("at", "tenant", "similarity", "judged", "weight", "source", "verdict")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("is_wrong", BooleanRadioFilter),
        ("source", ChoicesCheckboxFilter),
        ("at", RangeDateTimeFilter),
    )
    list_select_related = ("tenant",)

    @display(description="Judged", ordering="is_wrong", label={"right": "success", "wrong": "danger"})
    def judged(self, label: CacheLabel) -> str:
        return "wrong" if label.is_wrong else "right"


@admin.register(CacheStat)
class CacheStatAdmin(ReadOnlyAdmin):
    """Look-ups and their outcomes, by hour."""

    list_display = ("hour", "tenant", "cache", "shown_outcome", "reason", "count")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("cache", ChoicesCheckboxFilter),
        ("outcome", FieldTextFilter),
        ("hour", RangeDateTimeFilter),
    )
    list_select_related = ("tenant",)
    ordering = ("-hour",)

    @display(
        description="Outcome", label={"hit": "success", "miss": "", "bypass": "warning", "would_hit": "info"}
    )
    def shown_outcome(self, stat: CacheStat) -> str:
        return stat.outcome
