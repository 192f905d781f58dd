"""Buttons of the admin's pages that open a dialog before they act.

Invariant: a button acts on a row only after `owned`. If the domain refuses, its message is shown on the button's page.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.encoding import iri_to_uri
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm

from tenants.admin.access import finish, owned
from tenants.people import audit

# a message for the button's page, or a response of its own
DialogResult = str | HttpResponse


def dialog_action(
    label: str,
    icon: str,
    *,
    title: str,
    text: str,
    submit: str,
    form: type[BaseDialogForm] = BaseDialogForm,
    permission: str = "operate",
    is_destructive: bool = False,
    refusals: tuple[type[Exception], ...] = (),
    offered: Callable[[Any], bool] | None = None,
) -> Callable[[Callable[..., DialogResult]], Any]:
    """Make a button from a method of a `ModelAdmin`: `(request, form, row)`, or `(request, form)` above a list.

    The method is called when the dialog's form is valid; 404 and 403 come from `owned`. The `refusals` that it raises
    are shown as errors. Afterwards people see the row's page, or the page of ours that `?back=` names. The button is shown on
    the pages of rows for which it is `offered`; who presses it all the same gets the domain's answer.
    """

    def make(run: Callable[..., DialogResult]) -> Any:
        @wraps(run)
        def answer(
            model_admin: Any, request: HttpRequest, answered: BaseDialogForm, object_id: Any = None
        ) -> HttpResponse:
            row = None if object_id is None else owned(model_admin, request, object_id, permission=permission)
            url = back_of(request) or (list_of(model_admin.model) if row is None else page_of(row))
            try:
                result = run(model_admin, request, answered, *(() if row is None else (row,)))
            except refusals as error:
                return finish(request, url, message_of(error), level=messages.ERROR)
            audit.record(
                f"{label.rstrip('…')} ({model_admin.model._meta.verbose_name})",
                about=row,
                request=request,
                changes=audit.answers_of(answered.cleaned_data),
                reason=str(answered.cleaned_data.get("reason") or ""),
            )
            return finish(request, url, result) if isinstance(result, str) else result

        button: Any = action(
            permissions=[permission],
            description=label,
            icon=icon,
            variant=ActionVariant.DANGER if is_destructive else ActionVariant.DEFAULT,
            dialog={
                "title": title,
                "description": text,
                "form_class": form,
                "form_submit_text": submit,
                "is_destructive": is_destructive,  # read by our own template
            },
        )(answer)
        button.is_offered = offered
        return button

    return make


def back_of(request: HttpRequest) -> str:
    """The page of ours on which the button was pressed, if it says so; else empty."""
    back = request.GET.get("back", "")
    is_ours = back.startswith(reverse("admin:index")) and url_has_allowed_host_and_scheme(
        back, allowed_hosts=None
    )
    return iri_to_uri(back) if is_ours else ""


def page_of(row: Model) -> str:
    """The URL of a row's page: its form, or the front page that its pages name."""
    front = getattr(admin.site._registry.get(type(row)), "front_page", "change")
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{front}", args=(row.pk,))


def list_of(table: type[Model]) -> str:
    """The URL of a table's list."""
    return reverse(f"admin:{table._meta.app_label}_{table._meta.model_name}_changelist")


def message_of(error: Exception) -> str:
    """The message of an error, for a person."""
    return " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
