"""The tags of keys and users in their forms.

Invariant: what is stored is checked by the same code as a configuration file's.
"""

from typing import Any

from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from tenants.admin.access import TenantScopedForm
from tenants.allocation import COST_CENTER
from tenants.keys.allocating import check_team
from tenants.tag_fields import TagsField


class TagsForm(TenantScopedForm):
    """The form of a model with `tags`."""

    tags = TagsField(widget=UnfoldAdminTextInputWidget())


class UserForm(TagsForm):
    """The form of a user, whose team is one of the tenant's."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        tenant = cleaned.get("tenant") or getattr(self.instance, "tenant", None)
        if COST_CENTER in (cleaned.get("tags") or {}):
            self.add_error("tags", "The cost centre has a field of its own.")
        if tenant is not None:
            try:
                check_team(tenant, cleaned.get("team", ""))
            except ValidationError as error:
                self.add_error(None, error)
        return cleaned
