"""Pages of a list, as the SDKs turn them: `after` names the last object seen, `limit` how many may follow.

Invariant: a page says whether another one follows, so that nobody has to ask for an empty one.
"""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter

from llm.errors import InvalidRequest
from llm.views.documented import query

LONGEST_LIMIT = 9  # figures


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for. `after` is empty for its beginning."""

    after: str
    limit: int
    is_ascending: bool

    def render(self, data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
        """The list object both SDKs read."""
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": has_more,
        }


def page_parameters(limits: str) -> tuple[OpenApiParameter, ...]:
    """What `page_of` reads, for the reference; `limits` says how many rows may be asked for."""
    return (
        query("after", "The last object of the page before."),
        query("limit", limits, kind=int),
        query("order", "By creation.", "asc", "desc"),
    )


def page_of(request: HttpRequest, *, largest: int, default: int, order: str = "desc") -> Page:
    """Read `after`, `limit` and `order`, or raise InvalidRequest naming the one that is wrong."""
    limit = request.GET.get("limit", str(default))
    figures = limit.lstrip("0") or "0"
    if not limit.isascii() or not limit.isdecimal() or len(figures) > LONGEST_LIMIT or int(figures) > largest:
        raise InvalidRequest(f"'limit' must be a number from 0 to {largest}.", param="limit")
    order = request.GET.get("order", order)
    if order not in {"asc", "desc"}:
        raise InvalidRequest("'order' must be asc or desc.", param="order")
    return Page(after=request.GET.get("after", ""), limit=int(figures), is_ascending=order == "asc")
