"""The page of a key, with its limits tried on last days' requests before they change.

Invariant: `tenants` knows no requests, so the preview is laid over its page here.
"""

from typing import Any

from django.contrib import admin

from config.tenant_page import limits
from tenants.admin.keys import ApiKeyAdmin
from tenants.admin.previews import PreviewsChanges
from tenants.models import ApiKey

admin.site.unregister(ApiKey)


@admin.register(ApiKey)
class KeyPages(PreviewsChanges, ApiKeyAdmin):
    """Keys, whose limits are previewed."""

    def needs_preview(self, form: Any, former: ApiKey | None) -> bool:
        return limits.changes_limits(form, former)

    def preview_of(self, row: ApiKey, former: ApiKey) -> dict[str, Any]:
        return limits.preview_of_key(row, former)
