"""Pages of a list, as the SDKs ask for them: `after` names the last object seen, `limit` how many may follow.

Invariant: a page says whether another one follows, so that clients need not ask for an empty one.
"""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from drf_spectacular.utils import OpenApiParameter

from llm.errors import InvalidRequest
from llm.views.documented import query


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


def limit_of(request: HttpRequest, *, least: int, largest: int, default: int) -> int:
    """Read `limit`, however many digits it has, or raise InvalidRequest."""
    written = request.GET.get("limit", str(default))
    digits = written.lstrip("0") or "0"
    is_number = written.isascii() and written.isdecimal()
    if not is_number or len(digits) > len(str(largest)) or not least <= int(digits) <= largest:
        raise InvalidRequest(f"'limit' must be a number from {least} to {largest}.", param="limit")
    return int(digits)


def page_of(request: HttpRequest, *, largest: int, default: int, order: str = "desc") -> Page:
    """Read `after`, `limit` and `order`, or raise InvalidRequest naming the one that is wrong."""
    limit = limit_of(request, least=0, largest=largest, default=default)
    order = request.GET.get("order", order)
    if order not in {"asc", "desc"}:
        raise InvalidRequest("'order' must be asc or desc.", param="order")
    return Page(after=request.GET.get("after", ""), limit=limit, is_ascending=order == "asc")
