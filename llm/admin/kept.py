"""Pages of what is kept for tenants: responses and items at their provider, chat completions with us.

Invariant: read only, and without the texts: those belong to the tenant.
"""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import FieldTextFilter, RangeDateTimeFilter

from llm.models import KeptItem, KeptResponse, StoredChat
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter


@admin.register(KeptResponse)
class KeptResponseAdmin(ReadOnlyAdmin):
    """Responses that a provider keeps, and whose they are."""

    list_display = ("created_at", "tenant", "response_id", "provider", "model", "context_tokens")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("created_at", RangeDateTimeFilter),
        ("model", FieldTextFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("response_id__exact",)
    search_help_text = "The id of a response"


@admin.register(KeptItem)
class KeptItemAdmin(ReadOnlyAdmin):
    """Items, files and containers that a provider made for a tenant, and keeps."""

    list_display = ("created_at", "tenant", "item_id", "provider")
    list_filter = (("tenant", SeenRowsFilter), ("created_at", RangeDateTimeFilter))
    list_select_related = ("tenant",)
    search_fields = ("item_id__exact",)
    search_help_text = "The id of an item, a file or a container"


@admin.register(StoredChat)
class StoredChatAdmin(ReadOnlyAdmin):
    """Chat completions that a client had stored."""

    list_display = ("created_at", "tenant", "public_id", "model")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("created_at", RangeDateTimeFilter),
        ("model", FieldTextFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("public_id__exact",)
    search_help_text = "The id of a chat completion"
    fields = ("public_id", "tenant", "model", "metadata", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredChat]:
        return super().get_queryset(request).defer("asked", "answer")
