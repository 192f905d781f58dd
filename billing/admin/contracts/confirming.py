"""Forms that show what they would do before they do it.

Invariant: the first POST writes nothing; its answers come back as they were sent, so what is done is what was shown. What the
domain refuses is an error of the form.
"""

from dataclasses import dataclass
from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from billing.admin.contracts.proposals import waits
from billing.contracts.agreeing import propose
from billing.four_eyes import NeedsAnother
from tenants.admin.dialogs import page_of

ASKED: Final = "_preview"
MOST_ANSWERS: Final = 100


@dataclass(frozen=True, slots=True)
class Effect:
    """What a form would do: in a line, what that means, in figures, and what happens next."""

    change: str
    meaning: str
    submit: str
    table: dict[str, Any] | None = None
    note: str = ""


class AsksFirst:
    """A mixin for pages whose forms are confirmed: `effect_of(request, form)` says what the form would do.

    `effect_of` may raise ValidationError, and so may `save_model`.
    """

    change_form_before_template = "admin/preview_first.html"

    def effect_of(self, request: HttpRequest, form: Any) -> Effect:
        raise NotImplementedError

    def changeform_view(
        self: Any, request: HttpRequest, object_id: str | None = None, *args: Any, **options: Any
    ) -> HttpResponse:
        asked = request.method == "POST" and ASKED in request.POST
        if asked and object_id is None and self.has_add_permission(request):
            form = self.get_form(request, None, change=False)(request.POST, request.FILES)
            if form.is_valid():
                try:
                    return _page(request, self.model, self.effect_of(request, form))
                except ValidationError as error:
                    return _refused(request, error)
        try:
            return super().changeform_view(request, object_id, *args, **options)
        except NeedsAnother as needed:  # what it began to write is rolled back
            proposal = propose(needed, acting_user=request.user)
            messages.success(request, waits(proposal))
            return HttpResponseRedirect(page_of(proposal))
        except ValidationError as error:
            return _refused(request, error)


def _page(request: HttpRequest, model: Any, effect: Effect) -> HttpResponse:
    answers = [
        (name, value)
        for name, values in request.POST.lists()
        if name not in (ASKED, "csrfmiddlewaretoken")
        for value in values
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Preview",
        "opts": model._meta,
        "answers": answers[:MOST_ANSWERS],
        "shown": effect,
    }
    return TemplateResponse(request, "admin/contract_preview.html", context)


def _refused(request: HttpRequest, error: ValidationError) -> HttpResponse:
    for message in error.messages:
        messages.error(request, message)
    return HttpResponseRedirect(request.get_full_path())
