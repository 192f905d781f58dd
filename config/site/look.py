"""The admin's theme and navigation.

Invariant: every page of the product is one click away in the sidebar. A person sees only links to pages that they may
open.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy


def may_see(app_label: str, model_name: str) -> Callable[[HttpRequest], bool]:
    """Return a function that checks, by the model's admin, whether a person may open its pages."""

    def permission(request: HttpRequest) -> bool:
        from django.apps import apps  # noqa: PLC0415 the settings import this module
        from django.contrib import admin  # noqa: PLC0415 the settings import this module

        model_admin = admin.site.get_model_admin(apps.get_model(app_label, model_name))
        return bool(model_admin.has_view_permission(request))

    return permission


def page(title: str, icon: str, app_label: str, model_name: str) -> dict[str, Any]:
    """Return the sidebar's entry of a model's list."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app_label}_{model_name}_changelist"),
        "permission": may_see(app_label, model_name),
    }


def group(title: str, *items: dict[str, Any], collapsible: bool = False) -> dict[str, Any]:
    """Return a group of the sidebar."""
    return {"title": title, "separator": True, "collapsible": collapsible, "items": list(items)}


def is_operator(request: HttpRequest) -> bool:
    """Operators manage the product itself."""
    return bool(request.user.is_superuser)


# A purse, inline: no file to serve.
FAVICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E"
    "%3Crect width='24' height='24' rx='5' fill='%230d9488'/%3E"
    "%3Cpath d='M5 8h14v9H5zM14 11.5h5v2h-5z' fill='none' stroke='white' stroke-width='1.6'/%3E%3C/svg%3E"
)

UNFOLD: dict[str, Any] = {
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": FAVICON}],
    "SITE_TITLE": "Purser",
    "SITE_HEADER": "Purser",
    "SITE_SUBHEADER": "The gateway that keeps the books",
    "SITE_SYMBOL": "account_balance_wallet",
    "SITE_URL": "/admin/",
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "6px",
    "DASHBOARD_CALLBACK": "billing.admin.dashboard.dashboard",
    "LOGIN": {"form": "tenants.signing_in.login.LoginForm"},
    "COMMAND": {"search_models": False, "show_history": True},
    "COLORS": {
        "primary": {
            "50": "oklch(98.4% .014 180.72)",
            "100": "oklch(95.3% .051 180.801)",
            "200": "oklch(91% .096 180.426)",
            "300": "oklch(85.5% .138 181.071)",
            "400": "oklch(77.7% .152 181.912)",
            "500": "oklch(70.4% .14 182.503)",
            "600": "oklch(60% .118 184.704)",
            "700": "oklch(51.1% .096 186.391)",
            "800": "oklch(43.7% .078 188.216)",
            "900": "oklch(38.6% .063 188.416)",
            "950": "oklch(27.7% .046 192.524)",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": [
            {
                "items": [
                    {"title": "Dashboard", "icon": "dashboard", "link": reverse_lazy("admin:index")},
                    {
                        "title": "Month reports",
                        "icon": "summarize",
                        "link": reverse_lazy("admin:billing_reports"),
                        "permission": may_see("billing", "billingperiod"),
                    },
                ]
            },
            group(
                "Tenants",
                page("Tenants", "domain", "tenants", "tenant"),
                page("Users", "group", "tenants", "enduser"),
                page("API keys", "key", "tenants", "apikey"),
                page("Memberships", "badge", "tenants", "membership"),
                page("Administrators", "admin_panel_settings", "auth", "user"),
            ),
            group(
                "Money",
                page("Budgets", "savings", "billing", "budget"),
                page("Raises", "trending_up", "billing", "budgetraise"),
                page("Raise requests", "front_hand", "billing", "raiserequest"),
                page("Budget windows", "date_range", "billing", "budgetwindow"),
                page("Ledger", "receipt_long", "billing", "usagerecord"),
                page("Days", "calendar_month", "billing", "usagedaily"),
                page("Days to sum", "update", "billing", "rollupdirty"),
                page("Billing periods", "event_available", "billing", "billingperiod")
                | {"active": lambda request: request.path.endswith("/billingperiod/")},
                page("Statements", "request_quote", "billing", "statement"),
                page("Entries by hand", "edit_note", "billing", "manualentry"),
                page("Reconciliation", "balance", "billing", "costcomparison"),
                page("Cost reports", "receipt", "billing", "costreport"),
                page("Prices", "sell", "billing", "pricerow"),
                page("Rate rules", "percent", "billing", "raterule"),
                page("Re-ratings", "currency_exchange", "billing", "rerating"),
                page("Price proposals", "price_change", "billing", "priceproposal"),
                page("Estimates", "straighten", "billing", "estimateaccuracy"),
            ),
            group(
                "Models",
                page("Models", "neurology", "llm", "languagemodel"),
                page("Providers", "cloud", "llm", "provider"),
            ),
            group(
                "Traffic",
                page("Requests", "swap_horiz", "llm", "requestlog"),
                page("Attempts", "output", "billing", "attempt"),
                page("Feedback", "thumbs_up_down", "llm", "feedback"),
                page("Batches", "stacks", "llm", "batch"),
                page("Batch jobs", "conveyor_belt", "llm", "batchjob"),
                page("Batch lines", "format_list_numbered", "llm", "batchitem"),
                page("Deferred calls", "schedule_send", "llm", "deferredjob"),
                page("Queues and workers", "conveyor_belt", "llm", "batchturn"),
                page("Files", "description", "llm", "storedfile"),
                page("Kept responses", "forum", "llm", "keptresponse"),
                page("Stored chats", "chat", "llm", "storedchat"),
            ),
            group(
                "Cache",
                page("Entries", "cached", "caching", "cacheentry"),
                page("Scopes", "tune", "caching", "cachescope"),
                page("Evidence", "fact_check", "caching", "cachelabel"),
                page("Counts", "query_stats", "caching", "cachestat"),
            ),
            group(
                "Alerts",
                page("Alerts", "notifications", "billing", "alertevent"),
                page("Deliveries", "outgoing_mail", "billing", "alertdelivery"),
                page("Rules", "rule", "billing", "alertrule"),
                page("Channels", "campaign", "billing", "alertchannel"),
            ),
        ],
    },
}
