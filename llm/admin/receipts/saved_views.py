"""A person's own views of the list of requests: kept under a name, opened with a click.

Invariant: nobody sees or changes another's; each has at most `MOST_VIEWS`. What is kept went through the filter bar, and holds
no key of the gateway.
"""

import re
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_POST

from llm.admin.receipts import finding
from llm.models import SavedView
from tenants.admin.access import finish
from tenants.admin.dialogs import message_of

MOST_VIEWS: Final = 20
_KEY: Final = re.compile(r"psr_x?[0-9a-f]{16}_")


class ViewForm(forms.Form):
    """The name of a view, and the search that it stands for."""

    name = forms.CharField(max_length=40)
    query = forms.CharField(max_length=2000, required=False)


def views_of(user: Any) -> list[SavedView]:
    """A person's own views, by name."""
    return list(SavedView.objects.filter(user=user)[:MOST_VIEWS])


@transaction.atomic
def save_view(*, name: str, query: str, acting_user: Any) -> SavedView:
    """Keep a search under a name; a view of that name is replaced. Raises ValidationError."""
    if _KEY.search(query):
        raise ValidationError("A view does not keep a key: find it by pasting it above the list of keys.")
    # one at a time for each person, so that the count holds
    get_user_model().objects.select_for_update().get(pk=acting_user.pk)
    own = SavedView.objects.filter(user=acting_user)
    if not own.filter(name=name).exists() and own.count() >= MOST_VIEWS:
        raise ValidationError(f"You have {MOST_VIEWS} views: delete one first.")
    view, _ = SavedView.objects.update_or_create(user=acting_user, name=name, defaults={"query": query})
    return view


def delete_view(pk: int, *, acting_user: Any) -> bool:
    """Forget one of a person's own views; whether there was one."""
    return bool(SavedView.objects.filter(user=acting_user, pk=pk).delete()[0])


@require_POST
def save_page(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Save what the form says, and show the list with it."""
    _require_list(request, model_admin)
    form = ViewForm(request.POST)
    if not form.is_valid():
        return finish(request, _list(), "A view needs a name of at most 40 letters.", level=messages.ERROR)
    request.GET = QueryDict(form.cleaned_data["query"][:2000])  # only what the bar offers is kept
    query = finding.bar_of(request).query()
    try:
        view = save_view(name=form.cleaned_data["name"], query=query, acting_user=request.user)
    except ValidationError as error:
        return finish(request, f"{_list()}?{query}", message_of(error), level=messages.ERROR)
    return finish(request, f"{_list()}?{query}", f"The view {view.name} is kept.")


@require_POST
def delete_page(request: HttpRequest, model_admin: Any, view_id: int) -> HttpResponse:
    """Forget a view, and show the list."""
    _require_list(request, model_admin)
    if not delete_view(view_id, acting_user=request.user):
        return HttpResponseRedirect(_list())
    return finish(request, _list(), "The view is deleted.")


def _require_list(request: HttpRequest, model_admin: Any) -> None:
    if not model_admin.has_view_permission(request):
        raise PermissionDenied


def _list() -> str:
    return reverse("admin:llm_requestlog_changelist")
