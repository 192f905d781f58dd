"""Alerts of the tenant: what people should know, newest first, and who has seen it.

Invariant: only the tenant's own; an owner acknowledges, finance reads.
"""

from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from billing.incidents import acknowledge
from billing.models import AlertEvent
from config.portal.access import Visitor, page
from config.portal.layout import address, show
from tenants.people.rights import Right

MOST_SHOWN: Final = 50


@page(Right.SEE)
def list_alerts(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """What waits for somebody, and what was seen."""
    events = AlertEvent.objects.filter(tenant=visitor.tenant).order_by("-fired_at", "-pk")
    context = {
        "waiting": list(events.filter(acknowledged_at=None, resolved_at=None)[:MOST_SHOWN]),
        "seen": list(
            events.exclude(acknowledged_at=None, resolved_at=None).select_related("acknowledged_by")[
                :MOST_SHOWN
            ]
        ),
    }
    return show(request, visitor, "alerts.html", context, title="Alerts")


@page(Right.ATTEND)
@require_POST
def see_alert(request: HttpRequest, visitor: Visitor, event_id: int) -> HttpResponse:
    """Note that an owner has seen it."""
    event: Any = get_object_or_404(AlertEvent, tenant=visitor.tenant, pk=event_id)
    if acknowledge(event, acting_user=visitor.user):
        messages.success(request, "Noted that you have seen it.")
    return redirect(address(visitor, "alerts"))
