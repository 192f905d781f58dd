"""What people may read of cached questions and answers.

Invariant: a question or an answer is shown only if its tenant's policy lets people read prompts (`log_prompts`). Otherwise
a page says how long it is.
"""

from typing import Any
from uuid import UUID

from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from caching.answers import UnreadableAnswer, unpack
from caching.models import CacheEntry
from config.site import cells
from tenants.admin.columns import AlignedChangeList
from tenants.models import Tenant
from tenants.policy import parse_policy

MOST_SHOWN = 20_000


class QuietChangeList(AlignedChangeList):
    """A list of entries without the questions that nobody may read."""

    def get_results(self, request: Any) -> None:
        super().get_results(request)
        for entry in self.result_list:
            hidden(entry)


def may_read(tenant: Tenant) -> bool:
    """Whether people may read the tenant's questions and answers."""
    return parse_policy(tenant.policy).log_prompts


def hidden(entry: CacheEntry) -> CacheEntry:
    """The entry, whose question is replaced by its length if nobody may read it. It must not be saved."""
    if not may_read(entry.tenant):
        entry.question = not_shown(entry.question)
    return entry


def not_shown(text: str) -> str:
    """What stands in the place of a text."""
    return f"{len(text):,} characters, not shown: policy log_prompts is off"


def answer_of(entry: CacheEntry) -> str:
    """The cached answer for reading."""
    try:
        text = unpack(bytes(entry.answer)).text
    except UnreadableAnswer:
        return "not readable by this release"
    if not may_read(entry.tenant):
        return not_shown(text)
    cut = f"{text[:MOST_SHOWN]}…" if len(text) > MOST_SHOWN else text
    return format_html('<div class="p-json">{}</div>', cut)


def link_to_request(entry: CacheEntry) -> str:
    """The request that stored the entry, as a link to its receipt."""
    try:
        url = reverse("admin:llm_requestlog_change", args=(UUID(entry.request_id),))
    except (ValueError, NoReverseMatch):
        return entry.request_id or cells.NOTHING
    return cells.link(url, entry.request_id)
