"""The choices that the admin's fields and filters offer.

Invariant: a filter shows only rows that this person may see. A form's field searches only rows of tenants in which they
may write.
"""

from typing import Any

from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.contrib.filters.forms import AutocompleteDropdownForm

# A parameter of the search URL: search only rows that may be changed.
TO_WRITE = "to_write"


class WritableSelect(AutocompleteSelect):
    """A form's field that searches for one row."""

    def get_url(self) -> str:
        return f"{super().get_url()}?{TO_WRITE}=1"


class WritableSelectMultiple(AutocompleteSelectMultiple):
    """A form's field that searches for several rows."""

    def get_url(self) -> str:
        return f"{super().get_url()}?{TO_WRITE}=1"


class SeenRowsForm(AutocompleteDropdownForm):
    """A filter's field. It shows the chosen row's name only if the person may see the row."""

    def __init__(
        self, request: Any, name: str, *args: Any, field: Any, model_admin: Any, **options: Any
    ) -> None:
        super().__init__(request, name, *args, field=field, model_admin=model_admin, **options)
        related = model_admin.admin_site.get_model_admin(field.remote_field.model)
        self.fields[name].queryset = related.get_queryset(request)


class SeenRowsFilter(AutocompleteSelectFilter):
    """A filter by the rows of another table that this person may see."""

    form_class = SeenRowsForm
