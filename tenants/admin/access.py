"""Access control of the admin: who sees and changes which rows.

Invariant: people see and change what `people.rights` gives them, and only in tenants in which it does. A form writes or
references only rows of tenants in which the person may write. A row stays with its tenant. A table without tenants is
for platform roles.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import ForeignKey, JSONField, Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RangeDateFilter, RangeDateTimeFilter, RangeNumericFilter
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminTextareaWidget

from tenants.admin.auditing import AuditedPages
from tenants.admin.choices import TO_WRITE, WritableSelect, WritableSelectMultiple
from tenants.admin.columns import AlignedChangeList, columns_of
from tenants.models import Tenant
from tenants.people.rights import Right, may_everywhere, rights_here


def tenants_of(request: HttpRequest, *, right: Right = Right.SEE) -> QuerySet[Tenant]:
    """Return the tenants in which this person has the right."""
    if not _may_enter(request):
        return Tenant.objects.none()
    if may_everywhere(request, right):
        return Tenant.objects.all()
    return Tenant.objects.filter(pk__in=rights_here(request).tenants_with(right))


class IndentedJSON(json.JSONEncoder):
    """JSON, indented for people."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "indent": 2})


RANGES = (RangeDateFilter, RangeDateTimeFilter, RangeNumericFilter)
RANGE_END = re.compile(r"_(from|to)(_[01])?$")
# Most JSON columns hold a short list or a few names.
SHORT_JSON = {JSONField: {"widget": UnfoldAdminTextareaWidget(attrs={"rows": 3})}}


class TenantScopedForm(forms.ModelForm[Any]):
    """A form that checks uniqueness within a tenant also when the tenant is read-only."""

    def _get_validation_exclusions(self) -> set[str]:
        excluded = super()._get_validation_exclusions()
        return excluded if "tenant" in self.fields else excluded - {"tenant"}


class OfferedButtons(ModelAdmin):
    """Pages whose buttons are shown only where they can do something."""

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        buttons = super().get_actions_detail(request, object_id)
        if not any(getattr(button.method, "is_offered", None) for button in buttons):
            return buttons
        row = self.get_object(request, str(object_id))
        return [
            button
            for button in buttons
            if row is None or (getattr(button.method, "is_offered", None) or _always)(row)
        ]


class TenantScopedAdmin(AuditedPages, OfferedButtons):
    """Pages of a table whose rows belong to a tenant. `tenant_path` is the look-up from a row to its tenant.

    `seen_with`, `changed_with` and `operated_with` are the rights that its rows, its forms and its actions ask for.
    """

    tenant_path: ClassVar[str] = "tenant"
    seen_with: ClassVar[Right] = Right.SEE
    changed_with: ClassVar[Right] = Right.CONFIGURE
    operated_with: ClassVar[Right] = Right.CONFIGURE
    form = TenantScopedForm
    compressed_fields = True
    warn_unsaved_form = True
    list_filter_submit = True
    list_fullwidth = True
    show_full_result_count = False
    formfield_overrides = SHORT_JSON

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[AlignedChangeList]:
        return AlignedChangeList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return columns_of(self, super().get_list_display(request))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return self.rows_for(request, super().get_queryset(request), right=self.seen_with)

    def rows_for(
        self, request: HttpRequest, rows: QuerySet[Any], *, right: Right | None = None
    ) -> QuerySet[Any]:
        """Keep the rows of tenants in which this person has the right; by default those that they may change."""
        right = right or self.changed_with
        if may_everywhere(request, right):
            return rows
        return rows.filter(**{f"{self.tenant_path}__in": rights_here(request).tenants_with(right)})

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        kwargs.setdefault("queryset", self._choices(db_field, request))
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", WritableSelect(db_field, self.admin_site))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        kwargs.setdefault("queryset", self._choices(db_field, request))
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", WritableSelectMultiple(db_field, self.admin_site))
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # A row stays with its tenant, because its history and related rows do.
        fixed = tuple(super().get_readonly_fields(request, obj))
        moves = obj is not None and self.tenant_path == "tenant" and "tenant" not in fixed
        return (*fixed, "tenant") if moves and self.has_change_permission(request, obj) else fixed

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        row = super().save_form(request, form, change)
        self._require_own(request, row, *_pointed_at(form))
        return row

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for inline in formset.forms:
            if inline.has_changed():
                self._require_own(request, *_pointed_at(inline))
        super().save_formset(request, form, formset, change)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        # A person who may change one tenant's rows may have selected rows of another, which they may only read.
        return super().response_action(request, self.rows_for(request, queryset, right=self.operated_with))

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        # Only what a filter offers: with other look-ups a column's value could be guessed letter by letter.
        filters = [item[0] if isinstance(item, tuple) else item for item in self.list_filter]
        paths = [path for path in (*filters, self.date_hierarchy) if isinstance(path, str)]
        is_offered = any(lookup == path or lookup.startswith(f"{path}__") for path in paths)
        if not is_offered and lookup in {getattr(one, "parameter_name", None) for one in filters}:
            return True  # of a filter with a name of its own, which looks a value up in its choices
        ranges = [item[0] for item in self.list_filter if isinstance(item, tuple) and item[1] in RANGES]
        if RANGE_END.sub("", lookup) in ranges:
            return True  # both ends of a time or number
        return is_offered and super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if TO_WRITE in request.GET:
            queryset = self.rows_for(request, queryset, right=self._right_of_form(request))
        return super().get_search_results(request, queryset, search_term)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._is_allowed(request, obj, self.seen_with)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self._is_allowed(request, None, self.changed_with)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._is_allowed(request, obj, self.changed_with)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self._is_allowed(request, obj, self.changed_with)

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this person may run actions, including on rows that no form may edit."""
        return self._is_allowed(request, obj, self.operated_with)

    def _choices(self, db_field: Any, request: HttpRequest) -> QuerySet[Any] | None:
        """The rows that a field may reference: for a table with tenants, those that this person may change."""
        related = self.admin_site._registry.get(db_field.related_model)
        if not isinstance(related, TenantScopedAdmin):
            return self.get_field_queryset(None, db_field, request)
        return related.rows_for(request, related.get_queryset(request), right=self.changed_with)

    def _right_of_form(self, request: HttpRequest) -> Right:
        """The right that the form asks for, for whose field rows of this table are searched."""
        names = (request.GET.get("app_label", ""), request.GET.get("model_name", ""))
        for model, pages in self.admin_site._registry.items():
            if (model._meta.app_label, model._meta.model_name) == names:
                return getattr(pages, "changed_with", self.changed_with)
        return self.changed_with

    def _require_own(self, request: HttpRequest, *rows: Model) -> None:
        """The last check before a form is saved, independent of its fields."""
        for row in rows:
            pages = self if isinstance(row, self.model) else self.admin_site._registry.get(type(row))
            if isinstance(pages, TenantScopedAdmin) and not pages._is_allowed(
                request, row, self.changed_with
            ):
                raise PermissionDenied

    def _is_allowed(self, request: HttpRequest, obj: Any, right: Right) -> bool:
        if not _may_enter(request):
            return False
        if may_everywhere(request, right):
            return True
        ids = rights_here(request).tenants_with(right)
        if obj is None or isinstance(obj, str | int):  # unfold passes the id from an action's URL
            return bool(ids)
        return _tenant_id(obj, self.tenant_path) in ids


class OperatorAdmin(AuditedPages, OfferedButtons):
    """Pages of a table without tenants, for people with a platform role."""

    seen_with: ClassVar[Right] = Right.SEE
    changed_with: ClassVar[Right] = Right.PLATFORM

    compressed_fields = True
    warn_unsaved_form = True
    list_filter_submit = True
    list_fullwidth = True
    show_full_result_count = False
    formfield_overrides = SHORT_JSON

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[AlignedChangeList]:
        return AlignedChangeList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return columns_of(self, super().get_list_display(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return _may_enter(request) and may_everywhere(request, self.seen_with)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_operate_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request)

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this person may run actions on the rows."""
        return _may_enter(request) and may_everywhere(request, self.changed_with)


class HistoryPages(SimpleHistoryAdmin):
    """The history of changes, read-only. Reverting a row could undo a revocation unnoticed."""

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.method != "GET":
            raise PermissionDenied
        return super().history_form_view(request, *args, **kwargs)


class RecordedAdmin(HistoryPages, TenantScopedAdmin):
    """Pages of a tenant's configuration, with their history."""


class Unedited:
    """A mixin: no form adds, changes or deletes a row, unless the class itself allows it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReadOnlyAdmin(Unedited, TenantScopedAdmin):
    """Pages of a table that only the product writes. They never count rows, because these tables keep growing."""

    paginator = InfinitePaginator
    list_per_page = 50


def owned(
    model_admin: TenantScopedAdmin | OperatorAdmin,
    request: HttpRequest,
    object_id: Any,
    *,
    permission: str = "operate",
) -> Any:
    """Return the row of an action. 404 if this person may not see it, 403 if they may not change it."""
    row = model_admin.get_object(request, str(object_id))
    if row is None:
        raise Http404
    if not getattr(model_admin, f"has_{permission}_permission")(request, row):
        raise PermissionDenied
    return row


def finish(request: HttpRequest, url: str, message: str, *, level: int = messages.SUCCESS) -> HttpResponse:
    """End a dialog: show a message and redirect to `url`."""
    messages.add_message(request, level, message)
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)


def show_secret_once(request: HttpRequest, *, title: str, secret: str, advice: str, url: str) -> HttpResponse:
    """Respond with a page that shows a secret. It is stored nowhere, neither in the session nor in a message."""
    in_dialog = bool(request.headers.get("HX-Request"))
    response = TemplateResponse(
        request,
        "admin/secret_dialog.html" if in_dialog else "admin/secret_page.html",
        {**admin.site.each_context(request), "title": title, "secret": secret, "advice": advice, "url": url},
    )
    response["Cache-Control"] = "no-store"
    if in_dialog:
        response["HX-Retarget"] = response["HX-Reselect"] = "#dialog"
        response["HX-Reswap"] = "outerHTML"
    return response


def _always(row: Any) -> bool:
    return True


def _pointed_at(form: Any) -> Iterator[Model]:
    """The rows that a form's fields reference."""
    for value in form.cleaned_data.values():
        if isinstance(value, Model):
            yield value
        elif isinstance(value, QuerySet):
            yield from value


def _may_enter(request: HttpRequest) -> bool:
    return bool(request.user.is_active and request.user.is_staff)


def _tenant_id(row: Any, path: str) -> int | None:
    """Follow a look-up such as `batch__tenant` from a row to its tenant's id."""
    if path == "pk":
        return row.pk
    *steps, last = path.split("__")
    for step in steps:
        row = getattr(row, step)
        if row is None:
            return None
    return getattr(row, f"{last}_id")
