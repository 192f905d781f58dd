"""The tenant's page with its money: what it spends, and the way to its month report.

Invariant: `tenants` knows nothing of money, so this app lays its columns and buttons over the page of that one.
"""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import DecimalField, F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.decorators import action

from billing.admin import wizard
from billing.admin.figures import usd, utc_today
from billing.models import Budget, UsageSum
from billing.opening import open_tenant
from tenants.admin.access import show_secret_once
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import page_of
from tenants.admin.keys import COPY_IT_NOW
from tenants.admin.tenants import TenantAdmin
from tenants.models import Tenant

AMOUNT = DecimalField(max_digits=28, decimal_places=12)

admin.site.unregister(Tenant)


@admin.register(Tenant)
class TenantWithMoneyAdmin(TenantAdmin):
    """Tenants: who they are, whether they are served, what they spend."""

    list_display = (
        "slug", "name", "shown_status", "month_spend", "month_limit", "month_saving", "live_keys", "timezone", "created_at"
    )  # fmt: skip
    actions_detail = ("open_report", "issue_key", *TenantAdmin.actions_detail)
    add_fieldsets = wizard.FIELDSETS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        first = utc_today().date().replace(day=1)
        month = UsageSum.objects.filter(tenant=OuterRef("pk"), dimension="total", day__gte=first).order_by()
        limits = Budget.objects.filter(
            tenant=OuterRef("pk"), scope="tenant", unit="usd", period="month", is_active=True
        ).order_by()
        zero = Value(Decimal(0), output_field=AMOUNT)

        def total(amount: Any) -> Coalesce:
            sums = month.values("tenant").annotate(total=Sum(amount)).values("total")
            return Coalesce(Subquery(sums, output_field=AMOUNT), zero)

        return (
            super()
            .get_queryset(request)
            .annotate(
                month_billed=total("billed_cost"),
                month_saved=total(F("list_cost") + F("adjusted_cost") - F("billed_cost")),
                month_budget=Subquery(limits.values("limit_amount")[:1], output_field=AMOUNT),
            )
        )

    def get_form(self, request: HttpRequest, obj: Tenant | None = None, **options: Any) -> Any:
        return super().get_form(request, obj, **options) if obj else wizard.TenantWizard

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        chosen = {name: form.cleaned_data[name] for name in ("key_name", "user", "monthly_budget_usd")}
        request._opened = open_tenant(
            obj, acting_user=request.user, **chosen
        )  # read by response_add, then gone

    def response_add(
        self, request: HttpRequest, obj: Tenant, post_url_continue: str | None = None
    ) -> HttpResponse:
        opened = request._opened
        limit = f"{usd(opened.budget.limit_amount)} a month" if opened.budget else "no limit"
        return show_secret_once(
            request,
            title=f"{obj.name} is open, with {limit}",
            secret=opened.secret,
            advice=COPY_IT_NOW,
            url=page_of(obj),
        )

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if options.get("obj") is None:  # its key is shown next, on a page of its own
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **options)

    @figure_column("Limit, USD", ordering="month_budget")
    def month_limit(self, tenant: Any) -> Decimal | str:
        return "no limit" if tenant.month_budget is None else tenant.month_budget

    @figure_column("This month, USD", ordering="month_billed")
    def month_spend(self, tenant: Any) -> Decimal:
        return tenant.month_billed

    @figure_column("Saved, USD")
    def month_saving(self, tenant: Any) -> Decimal:
        return tenant.month_saved

    @action(description="Month report", icon="summarize")
    def open_report(self, request: HttpRequest, object_id: int) -> HttpResponse:
        tenant = self.get_object(request, str(object_id))
        if tenant is None:
            raise Http404
        return redirect(f"{reverse('admin:billing_reports')}?tenant={tenant.slug}")

    @action(permissions=["operate"], description="Issue key", icon="key")
    def issue_key(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return redirect(f"{reverse('admin:tenants_apikey_add')}?tenant={int(object_id)}")
