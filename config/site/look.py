"""The admin's theme and navigation.

Invariant: the sidebar follows the work, and leads to every page; what nobody needs every day is folded. A person sees only
links to pages that they may open.
"""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
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


# A purse, inline: no file to serve.
FAVICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E"
    "%3Crect width='24' height='24' rx='5' fill='%230d9488'/%3E"
    "%3Cpath d='M5 8h14v9H5zM14 11.5h5v2h-5z' fill='none' stroke='white' stroke-width='1.6'/%3E%3C/svg%3E"
)


def of_release(path: str) -> Callable[[HttpRequest], str]:
    """The address of a static file of ours; a browser takes the new one with each release."""

    def address(request: HttpRequest) -> str:
        from django.conf import settings  # noqa: PLC0415 the settings import this module

        return f"{static(path)}?v={settings.VERSION}"

    return address


NAVIGATION: list[dict[str, Any]] = [
    {
        "items": [
            {"title": "Home", "icon": "dashboard", "link": reverse_lazy("admin:index")},
            page("Requests", "swap_horiz", "llm", "requestlog"),
            page("Sessions", "account_tree", "billing", "agenthour"),
            page("Alerts", "notifications", "billing", "alertevent"),
            {
                "title": "Month reports",
                "icon": "summarize",
                "link": reverse_lazy("admin:billing_reports"),
                "permission": may_see("billing", "billingperiod"),
            },
            {
                "title": "Planning",
                "icon": "query_stats",
                "link": reverse_lazy("planning"),
                "permission": may_see("billing", "budget"),
            },
        ]
    },
    group(
        "Tenants",
        page("Tenants", "domain", "tenants", "tenant"),
        page("API keys", "key", "tenants", "apikey"),
        page("Users", "group", "tenants", "enduser"),
        page("Memberships", "badge", "tenants", "membership"),
        page("People", "admin_panel_settings", "auth", "user"),
        page("Invitations", "outgoing_mail", "tenants", "invitation"),
        page("Identity providers", "passkey", "tenants", "identityprovider"),
        page("Audit log", "policy", "tenants", "auditentry"),
    ),
    group(
        "Budgets",
        page("Budgets", "savings", "billing", "budget"),
        page("Raise requests", "front_hand", "billing", "raiserequest"),
        page("Raises", "trending_up", "billing", "budgetraise"),
        page("Envelopes of runs", "mark_email_read", "billing", "runenvelope"),
    ),
    group(
        "Models and prices",
        page("Models", "neurology", "llm", "languagemodel"),
        page("Providers", "cloud", "llm", "provider"),
        page("Prices", "sell", "billing", "pricerow"),
        page("Price proposals", "price_change", "billing", "priceproposal"),
        page("Rate rules", "percent", "billing", "raterule"),
        collapsible=True,
    ),
    group(
        "Books",
        page("Ledger", "receipt_long", "billing", "usagerecord"),
        page("Billing periods", "event_available", "billing", "billingperiod")
        | {"active": lambda request: "/billingperiod/" in request.path and "/reports/" not in request.path},
        page("Statements", "request_quote", "billing", "statement"),
        page("Schedules of reports", "schedule_send", "billing", "reportschedule"),
        page("Deliveries of reports", "outgoing_mail", "billing", "reportdelivery"),
        page("Billing details", "contact_mail", "billing", "billingdetails"),
        page("Credits and adjustments", "edit_note", "billing", "entryproposal"),
        page("Proposed agreements", "fact_check", "billing", "agreementproposal"),
        page("Prepaid balances", "account_balance_wallet", "billing", "prepaidbalance"),
        page("Minimum commitments", "handshake", "billing", "commitment"),
        page("Currency rates", "currency_exchange", "billing", "currencyrate"),
        page("GL accounts", "menu_book", "billing", "glaccount"),
        page("Prepaid entries", "payments", "billing", "prepaidentry"),
        page("Entries by hand", "history_edu", "billing", "manualentry"),
        page("Split rules", "call_split", "billing", "splitrule"),
        page("Re-ratings", "currency_exchange", "billing", "rerating"),
        page("Reconciliation", "balance", "billing", "costcomparison"),
        page("Cost reports", "receipt", "billing", "costreport"),
        collapsible=True,
    ),
    group(
        "Work that may wait",
        page("Batches", "stacks", "llm", "batch"),
        page("Deferred calls", "schedule_send", "llm", "deferredjob"),
        page("Queues and workers", "conveyor_belt", "llm", "batchturn"),
        page("Files", "description", "llm", "storedfile"),
        collapsible=True,
    ),
    group(
        "Cache and feedback",
        page("Cached answers", "cached", "caching", "cacheentry"),
        page("Refreshed answers", "autorenew", "llm", "refreshedmonth"),
        page("Scopes", "tune", "caching", "cachescope"),
        page("Evidence", "fact_check", "caching", "cachelabel"),
        page("Feedback", "thumbs_up_down", "llm", "feedback"),
        collapsible=True,
    ),
    group(
        "Alerting",
        page("Rules", "rule", "billing", "alertrule"),
        page("Channels", "campaign", "billing", "alertchannel"),
        page("Deliveries", "outgoing_mail", "billing", "alertdelivery"),
        collapsible=True,
    ),
    group(
        "Plumbing",
        page("Attempts", "output", "billing", "attempt"),
        page("Budget windows", "date_range", "billing", "budgetwindow"),
        page("Days", "calendar_month", "billing", "usagedaily"),
        page("Days to sum", "update", "billing", "rollupdirty"),
        page("Estimates", "straighten", "billing", "estimateaccuracy"),
        page("Look-ups of the caches", "query_stats", "caching", "cachestat"),
        page("Asked questions", "quiz", "llm", "askedquestion"),
        page("Batch jobs", "conveyor_belt", "llm", "batchjob"),
        page("Batch lines", "format_list_numbered", "llm", "batchitem"),
        page("Kept responses", "forum", "llm", "keptresponse"),
        page("Kept items", "inventory_2", "llm", "keptitem"),
        page("Stored chats", "chat", "llm", "storedchat"),
        collapsible=True,
    ),
]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return what of the navigation a person may open. Asked itself, Unfold makes a class for each link of each page."""
    groups = [
        {**each, "items": [allowed(item) for item in each["items"] if may_open(item, request)]}
        for each in NAVIGATION
    ]
    return [each for each in groups if each["items"]]


def may_open(item: dict[str, Any], request: HttpRequest) -> bool:
    """Say whether a person may open an entry's page."""
    return "permission" not in item or bool(item["permission"](request))


def allowed(item: dict[str, Any]) -> dict[str, Any]:
    """Return an entry that need not be asked again."""
    return {name: value for name, value in item.items() if name != "permission"}


UNFOLD: dict[str, Any] = {
    "STYLES": [
        of_release("purser/admin.css"),
        of_release("purser/tenant.css"),
        of_release("purser/plots.css"),
    ],
    "SCRIPTS": [of_release("purser/admin.js"), of_release("purser/keyboard.js")],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": FAVICON}],
    "SITE_TITLE": "Purser",
    "SITE_HEADER": "Purser",
    "SITE_SUBHEADER": "The gateway that keeps the books",
    "SITE_SYMBOL": "account_balance_wallet",
    "SITE_URL": "/admin/",
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "6px",
    "DASHBOARD_CALLBACK": "config.home.page.home",
    "COMMAND": {"search_models": False, "show_history": True},
    "COLORS": {
        # white text on 600, and 600 on white, have a contrast of at least 4.5 to 1
        "primary": {
            "50": "oklch(98.4% .014 180.72)",
            "100": "oklch(95.3% .051 180.801)",
            "200": "oklch(91% .096 180.426)",
            "300": "oklch(85.5% .138 181.071)",
            "400": "oklch(77.7% .152 181.912)",
            "500": "oklch(70.4% .14 182.503)",
            "600": "oklch(51.1% .096 186.391)",
            "700": "oklch(43.7% .078 188.216)",
            "800": "oklch(38.6% .063 188.416)",
            "900": "oklch(33% .054 190)",
            "950": "oklch(27.7% .046 192.524)",
        },
        # text of the second rank is read too
        "font": {
            "subtle-light": "var(--color-base-600)",
            "subtle-dark": "var(--color-base-400)",
            "default-light": "var(--color-base-700)",
            "default-dark": "var(--color-base-300)",
            "important-light": "var(--color-base-900)",
            "important-dark": "var(--color-base-100)",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": "config.site.look.navigation",
    },
}
