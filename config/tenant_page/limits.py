"""What a change of rate limits would have done with the requests of the last thirty days, shown before it is saved.

Invariant: reads only. Each figure says whether every request was gone through or a part of the hours.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from config.site import cells
from llm.past.limit_replays import Limits, Tried, replay
from llm.past.samples import DAYS, Sample, last_days
from tenants.admin.limits import FIELDS, limits_in_words
from tenants.models import ApiKey, Tenant
from tenants.policy import RateLimits, parse_rate_limits

MOST_ROWS: Final = 10
MOST_HOURS: Final = 12
NOBODY: Final = "(no user named)"
HOW: Final = (
    "Counted in the limiter's own windows, a sliding minute, with all other limits as they are; a call counts with the tokens it "
    "was billed for. Clients that wait and try again would have been served later, not lost."
)


def changes_limits(form: Any, former: Any) -> bool:
    """Whether a form changes the limits of something that has a past."""
    return former is not None and bool(set(FIELDS) & set(form.changed_data))


def preview_of_tenant(tenant: Tenant, former: Tenant) -> dict[str, Any]:
    """What other limits of a whole tenant would have refused."""
    now = Limits.of(former)
    return _preview(
        former,
        change=_change(former.name, former, tenant),
        before=now,
        after=replace(now, tenant=parse_rate_limits(tenant.rate_limits)),
        verb="Save these limits",
    )


def preview_of_key(key: ApiKey, former: ApiKey) -> dict[str, Any]:
    """What other limits of a key would have refused."""
    now = Limits.of(key.tenant)
    return _preview(
        key.tenant,
        change=_change(f"The key {former.name}", former, key),
        before=now,
        after=replace(now, keys={**now.keys, key.pk: parse_rate_limits(key.rate_limits)}),
        verb="Save these limits",
    )


def refused_by_users(tenant: Tenant, users: RateLimits) -> tuple[Tried, Tried]:
    """What other limits of each user would have refused, and what those in force would have."""
    now, sample = Limits.of(tenant), last_days(tenant.pk)
    return replay(replace(now, users=users), sample), replay(now, sample)


def in_words(tried: Tried) -> str:
    """Whose calls were refused, and when most of them."""
    if not tried.refused:
        return "none of them would have been refused"
    [(worst, _)] = tried.hours.most_common(1)
    users = len(tried.users)
    return (
        f"of {users:,} user{'s' if users > 1 else ''}; most from {worst:%Y-%m-%d %H:%M} UTC on, in one hour"
    )


def _change(what: str, before: Any, after: Any) -> str:
    return f"{what}: {_words(before)} becomes {_words(after)}"


def _words(row: Any) -> str:
    return limits_in_words(row.rate_limits) or "no limit"


def _preview(tenant: Tenant, *, change: str, before: Limits, after: Limits, verb: str) -> dict[str, Any]:
    sample = last_days(tenant.pk)
    changed, unchanged = replay(after, sample), replay(before, sample)
    return {
        "change": change,
        "meaning": _meaning(changed),
        "tables": [
            {
                "headers": ["", "Requests refused", "Users", "Hours with refusals"],
                "rows": [
                    [name, tried.in_all, len(tried.users), len(tried.hours)]
                    for name, tried in (("With the change", changed), ("As it is now", unchanged))
                ],
                "caption": "What it would have refused",
            },
            *_details(changed, tenant),
        ],
        "note": f"The last {DAYS} days, {_first(sample)}. {sample.basis.capitalize()}. {HOW}",
        "verb": verb,
    }


def _first(sample: Sample) -> str:
    return f"since {sample.first:%Y-%m-%d %H:%M} UTC"


def _meaning(tried: Tried) -> str:
    about = "" if tried.sample.is_whole else "about "
    if not tried.calls:
        return "There were no requests to try it on."
    if not tried.refused:
        return f"It would have refused none of {about}{tried.calls * tried.sample.every:,} requests."
    users = len(tried.users)
    return (
        f"It would have refused {about}{tried.in_all:,} of {tried.calls * tried.sample.every:,} requests, of {users:,} "
        f"user{'s' if users > 1 else ''}."
    )


def _details(tried: Tried, tenant: Tenant) -> list[dict[str, Any]]:
    """The hours, users and limits of what would have been refused; nothing where nothing would."""
    if not tried.refused:
        return []
    hours = [
        [cells.moment(hour, zone=tenant.timezone), count]
        for hour, count in sorted(tried.hours.most_common(MOST_HOURS))
    ]
    found: list[tuple[str, str, str, Sequence[Any], int]] = [
        ("When", "From, for an hour", "The hours with most refusals", hours, len(tried.hours)),
        (
            "Whose",
            "User",
            "The users that it meets most",
            [[user or NOBODY, count] for user, count in tried.users.most_common(MOST_ROWS)],
            len(tried.users),
        ),
        (
            "Which limit",
            "Limit of",
            "The limits that refuse",
            tried.limits.most_common(MOST_ROWS),
            len(tried.limits),
        ),
    ]
    part = "" if tried.sample.is_whole else ", in the hours that were read"
    return [
        {
            "title": title,
            "headers": [head, f"Requests refused{part}"],
            "rows": rows,
            "caption": caption,
            "more": f"and {count - len(rows):,} more" if count > len(rows) else "",
        }
        for title, head, caption, rows, count in found
    ]
