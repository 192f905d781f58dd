"""The pages of answers that are bought ahead of time: what each month came to, and which questions are about to be asked.

Invariant: read only; what was asked is not shown, because it is prompts.
"""

from django.contrib import admin
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import display

from billing.admin.figures import exact_usd
from llm.models import AskedQuestion, RefreshedMonth
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.people.rights import Right


@admin.register(RefreshedMonth)
class RefreshedMonthAdmin(ReadOnlyAdmin):
    """What refreshing cost a tenant in a month, and what the answers earned after those before them had expired."""

    list_display = ("tenant", "month", "refreshed", "cost", "hits", "saved", "net")
    list_filter = (("tenant", SeenRowsFilter),)
    list_select_related = ("tenant",)

    @display(description="Cost", ordering="cost_usd")
    def cost(self, month: RefreshedMonth) -> str:
        return exact_usd(month.cost_usd)

    @display(description="Saved", ordering="saved_usd")
    def saved(self, month: RefreshedMonth) -> str:
        return exact_usd(month.saved_usd)

    @display(description="Net", ordering="net_usd")
    def net(self, month: RefreshedMonth) -> str:
        return exact_usd(month.net_usd)


@admin.register(AskedQuestion)
class AskedQuestionAdmin(ReadOnlyAdmin):
    """Questions whose answers are met again and again: when those expire, and how often they were met since they were bought."""

    seen_with = Right.READ_TEXTS
    list_display = ("__str__", "tenant", "hits", "expires_at", "refreshed_at")
    list_filter = (("tenant", SeenRowsFilter), ("expires_at", RangeDateTimeFilter))
    list_select_related = ("tenant",)
    exclude = ("question",)
