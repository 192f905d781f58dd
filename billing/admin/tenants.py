"""The tenant's page with its money: what it spends, and the way to its month report.

Invariant: `tenants` knows nothing of money, so this app lays its columns and buttons over the page of that one.
"""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import DecimalField, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.decorators import action, display

from billing.admin.figures import usd, utc_today
from billing.models import UsageDaily
from tenants.admin.tenants import TenantAdmin
from tenants.models import Tenant

AMOUNT = DecimalField(max_digits=28, decimal_places=12)

admin.site.unregister(Tenant)


@admin.register(Tenant)
class TenantWithMoneyAdmin(TenantAdmin):
    """Tenants: who they are, whether they are served, what they spend."""

    list_display = (
        "slug", "name", "shown_status", "month_spend", "month_saving", "live_keys", "timezone", "created_at"
    )  # fmt: skip
    actions_detail = ("open_report", "issue_key", *TenantAdmin.actions_detail)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        month = UsageDaily.objects.filter(
            tenant=OuterRef("pk"), day__gte=utc_today().date().replace(day=1)
        ).order_by()
        zero = Value(Decimal(0), output_field=AMOUNT)

        def total(column: str) -> Coalesce:
            sums = month.values("tenant").annotate(total=Sum(column)).values("total")
            return Coalesce(Subquery(sums, output_field=AMOUNT), zero)

        return (
            super()
            .get_queryset(request)
            .annotate(month_billed=total("billed_cost"), month_list=total("list_cost"))
        )

    @display(description="This month", ordering="month_billed")
    def month_spend(self, tenant: Any) -> str:
        return usd(tenant.month_billed)

    @display(description="Saved")
    def month_saving(self, tenant: Any) -> str:
        return usd(tenant.month_list - tenant.month_billed)

    @action(description="Month report", icon="summarize")
    def open_report(self, request: HttpRequest, object_id: int) -> HttpResponse:
        tenant = self.get_object(request, str(object_id))
        if tenant is None:
            raise Http404
        return redirect(f"{reverse('admin:billing_reports')}?tenant={tenant.slug}")

    @action(permissions=["operate"], description="Issue key", icon="key")
    def issue_key(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return redirect(f"{reverse('admin:tenants_apikey_add')}?tenant={int(object_id)}")
