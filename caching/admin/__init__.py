"""Admin pages of the semantic cache: its entries, each scope's threshold and evidence, and counts of look-ups.

It owns pages. It does not own the figures on them (`figures`).

Invariant: entries can only be read and removed here. The learnt state of a scope is never edited by hand.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
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
from caching.admin import texts
from caching.models import CacheEntry, CacheLabel, CacheScope, CacheStat
from caching.semantic.eviction import matching, purge
from tenants.admin.access import ReadOnlyAdmin, finish, tenants_of
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.confirming import list_action
from tenants.admin.dialogs import dialog_action, list_of
from tenants.models import Tenant
from tenants.people.rights import Right


class PurgeForm(BaseDialogForm):
    """Which answers of which tenant to remove. An answer must match every given condition."""

    data: Any
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

    # how many answers the person was told that it takes
    counted = forms.IntegerField(required=False, widget=forms.HiddenInput())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["tenant"].queryset = tenants_of(self.request, right=Right.CONFIGURE)

    @property
    def conditions(self) -> dict[str, Any]:
        """The answers that are meant, as `purge` and `matching` take them."""
        hours = self.cleaned_data["older_than_hours"]
        texts = {name: self.cleaned_data[name] or None for name in ("model", "prompt_version", "containing")}
        return {**texts, "older_than": None if hours is None else timedelta(hours=hours)}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        found = matching(cleaned["tenant"].pk, **self.conditions).count()
        if cleaned.get("counted") != found:
            # the form is shown again, and says what it takes
            self.data = self.data.copy()
            self.data["counted"] = str(found)
            answers = f"{found:,} cached answer{'' if found == 1 else 's'}"
            raise ValidationError(
                f"This takes {answers} of {cleaned['tenant']}, and its whole exact cache. Press again to do it."
            )
        return cleaned


@admin.register(CacheEntry)
class CacheEntryAdmin(ReadOnlyAdmin):
    """Cached answers, last used first."""

    seen_with = Right.READ_TEXTS
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
    readonly_fields = ("shown_question", "shown_answer", "stored_by", "model_asked", "neighbours")
    actions_detail = ("forget_this",)
    actions = ("forget",)
    actions_list = ("purge_tenant",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "shown_question",
                    "shown_answer",
                    ("tenant", "circle"),
                    ("endpoint", "model_asked"),
                    ("model", "provider"),
                )
            },
        ),
        ("Use", {"fields": (("hits", "list_cost_usd"), ("created_at", "last_hit_at"), "expires_at")}),
        ("Neighbours", {"fields": ("neighbours",)}),
        (
            "Traces",
            {"fields": (("embedder", "prompt_version"), ("stored_by", "key_id"), "confirmed_by", "usage")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[CacheEntry]:
        rows: QuerySet[CacheEntry] = super().get_queryset(request)
        return rows.defer("vector", "answer").select_related("tenant")

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[texts.QuietChangeList]:
        return texts.QuietChangeList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> CacheEntry | None:
        entry: CacheEntry | None = super().get_object(request, object_id, from_field)
        return texts.hidden(entry) if entry is not None else None

    @display(description="Question")
    def shown_question(self, entry: CacheEntry) -> str:
        return entry.question

    @display(description="Answer")
    def shown_answer(self, entry: CacheEntry) -> str:
        return texts.answer_of(entry)

    @display(description="Stored by request")
    def stored_by(self, entry: CacheEntry) -> str:
        return texts.link_to_request(entry)

    @display(description="Model asked for")
    def model_asked(self, entry: CacheEntry) -> str:
        return entry.route.split("/", 1)[0] or "–"

    @display(description="Nearest in its scope")
    def neighbours(self, entry: CacheEntry) -> str:
        return admin_figures.neighbours_of(entry)

    @figure_column("Worth, USD", ordering="list_cost_usd")
    def list_cost(self, entry: CacheEntry) -> Decimal:
        return entry.list_cost_usd

    @list_action(
        "Forget the selected answers",
        effect="The next such questions are asked anew, and that is all it costs. The exact cache forgets by itself.",
        submit="Forget them",
        is_destructive=True,
    )
    def forget(self, request: HttpRequest, queryset: QuerySet[CacheEntry]) -> None:
        removed, _ = queryset.delete()
        self.message_user(request, f"{removed} answers forgotten.")

    @dialog_action(
        "Forget this one",
        "delete",
        title="Forget this answer?",
        text="The next such question is asked anew, and that is all it costs. The exact cache forgets by itself.",
        submit="Forget it",
        is_destructive=True,
    )
    def forget_this(self, request: HttpRequest, form: BaseDialogForm, entry: CacheEntry) -> HttpResponse:
        removed, _ = CacheEntry.objects.filter(pk=entry.pk, tenant=entry.tenant_id).delete()
        message = "It is forgotten." if removed else "It was gone already."
        return finish(request, list_of(CacheEntry), message)

    @dialog_action(
        "Purge…",
        "delete_sweep",
        title="Forget a tenant's cached answers?",
        text="You are told how many it takes before it is done. The tenant's exact cache is emptied as well.",
        submit="Forget them",
        form=PurgeForm,
        is_destructive=True,
    )
    def purge_tenant(self, request: HttpRequest, form: PurgeForm) -> str:
        tenant = form.cleaned_data["tenant"]
        removed = purge(tenant.pk, **form.conditions)
        return f"{removed:,} answers of {tenant} forgotten."


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

    @figure_column("Wrong, upper bound", ordering="error_rate_upper")
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
