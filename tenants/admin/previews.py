"""Forms whose change is shown on the traffic that was, before it is saved.

Invariant: a preview writes nothing. The answers of the form come back as they were sent, so what is saved is what was shown.
"""

from copy import copy
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

ASKED: Final = "_preview"
MOST_ANSWERS: Final = 100


class PreviewsChanges:
    """For the pages of a table: `needs_preview` says which changes are shown first, `preview_of` what they would do.

    What `preview_of` returns is for `admin/change_preview.html`: `change`, `meaning`, `tables` (each with a `caption`),
    `note` and the `verb` of the button that saves.
    """

    change_form_before_template = "admin/preview_first.html"

    def needs_preview(self, form: Any, former: Any) -> bool:
        raise NotImplementedError

    def preview_of(self, row: Any, former: Any) -> dict[str, Any]:
        raise NotImplementedError

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **options: Any
    ) -> HttpResponse:
        pages: Any = self
        if request.method == "POST" and ASKED in request.POST:
            former = pages.get_object(request, unquote(object_id)) if object_id else None
            if (former is not None or not object_id) and _may_save(pages, request, former):
                form = pages.get_form(request, former, change=former is not None)(
                    request.POST, instance=copy(former) if former else None
                )
                if form.is_valid() and self.needs_preview(form, former):
                    shown = self.preview_of(form.instance, former)
                    return _page(request, shown, opts=pages.opts, original=former)
        usual: Any = super()
        response: HttpResponse = usual.changeform_view(request, object_id, *args, **options)
        return response  # which says what is wrong, if something is


def _may_save(pages: Any, request: HttpRequest, former: Any) -> bool:
    may: bool = pages.has_change_permission(request, former) if former else pages.has_add_permission(request)
    return may


def _page(request: HttpRequest, shown: dict[str, Any], *, opts: Any, original: Any) -> HttpResponse:
    answers = [
        (name, value)
        for name, values in request.POST.lists()
        if name not in (ASKED, "csrfmiddlewaretoken")
        for value in values
    ]
    context = {
        **admin.site.each_context(request),
        "title": "Preview",
        "opts": opts,
        "original": original,
        "answers": answers[:MOST_ANSWERS],
        "shown": shown,
    }
    return TemplateResponse(request, "admin/change_preview.html", context)
