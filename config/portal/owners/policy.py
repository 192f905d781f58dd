"""The part of the policy that owners set in the portal: a short form. What it does not know stays as it is.

Invariant: one check for all ways to a policy (`tenants.policies.editing`): a wrong value, a part of the platform's, and a change
that somebody else made meanwhile are refused.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from config.portal.access import Visitor, page
from config.portal.layout import address, show
from tenants.admin.policy_form import MOST_CHARACTERS, shown
from tenants.admin.policy_form import stored as read
from tenants.people.rights import Right
from tenants.policies.editing import ChangedMeanwhile, digest_of, set_policy
from tenants.policies.fields import as_stored, policy_fields
from tenants.policy import Policy, parse_policy


@dataclass(frozen=True)
class Entry:
    """A field of the form, and where it stands in the policy."""

    path: tuple[str, ...]
    field: forms.Field
    group: str

    @property
    def name(self) -> str:
        return "_".join(self.path)

    def value_in(self, policy: Policy) -> Any:
        value: Any = policy
        for step in self.path:
            value = getattr(value, step)
        if isinstance(value, tuple):
            return ", ".join(value)
        return shown(policy_fields()[self.path], as_stored(value)) if isinstance(value, Mapping) else value


def _switch(path: str, group: str, label: str, says: str) -> Entry:
    return Entry(
        tuple(path.split(".")), forms.BooleanField(required=False, label=label, help_text=says), group
    )


def _choice(path: str, group: str, label: str, choices: dict[str, str], says: str = "") -> Entry:
    return Entry(
        tuple(path.split(".")), forms.ChoiceField(choices=choices.items(), label=label, help_text=says), group
    )


def _number(path: str, group: str, label: str, *, most: int, least: int = 1, required: bool = True) -> Entry:
    field = forms.IntegerField(min_value=least, max_value=most, label=label, required=required)
    return Entry(tuple(path.split(".")), field, group)


def _text(path: str, group: str, label: str, says: str) -> Entry:
    field = forms.CharField(
        max_length=MOST_CHARACTERS,
        required=False,
        label=label,
        help_text=says,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    return Entry(tuple(path.split(".")), field, group)


SHARES: Final = {
    "tenant": "everybody of the tenant",
    "team": "people of one cost centre",
    "key": "calls of one key",
    "user": "one user only",
}
ENTRIES: Final = (
    _switch(
        "cache.exact", "Cache", "Exact cache", "The same question gets the same answer again, for nothing."
    ),
    _choice(
        "cache.semantic",
        "Cache",
        "Semantic cache",
        {
            "off": "off",
            "dry_run": "only count what it would do",
            "bounded": "as far as its errors stay rare",
            "static": "by a fixed threshold",
        },
        "A question with the same meaning gets a stored answer.",
    ),
    _choice("cache.share", "Cache", "Answers are shared by", SHARES),
    _switch(
        "routing.enabled",
        "Calls",
        "Routing",
        "Calls with the model auto go to the cheapest model that can answer them.",
    ),
    _switch("compression.enabled", "Calls", "Compression", "Prompts are shortened where nothing gets lost."),
    _switch(
        "store_chats", "Texts", "Stored chats", "Chats that clients send with store are kept for 30 days."
    ),
    _switch(
        "log_prompts",
        "Texts",
        "Prompts in the log",
        "Prompts are kept with receipts, encrypted and for a time.",
    ),
    _text("allocation.tags", "Whose cost it is", "Tags of the tenant", "One a line: cost_center=4711"),
    _text(
        "allocation.teams",
        "Whose cost it is",
        "Teams with their tags",
        "One a line: search: cost_center=4711, project=apollo",
    ),
    _text(
        "allocation.required",
        "Whose cost it is",
        "Tags that every call needs",
        "With commas between them; cost_center and project are tags.",
    ),
    _choice(
        "allocation.missing",
        "Whose cost it is",
        "A call without one of them is",
        {"mark": "answered, and counted as unallocated", "refuse": "refused"},
    ),
    _text(
        "allocation.fixed",
        "Whose cost it is",
        "Tags that requests do not choose",
        "Where a key, a user, a team or the tenant names them. With commas between them.",
    ),
    _number("self_service.keys", "People", "Keys of each person", least=0, most=100),
    _number("self_service.key_days", "People", "Longest life of such a key, days", most=3_650),
    Entry(
        ("self_service", "key_models"),
        forms.CharField(
            max_length=1000,
            label="Models of such a key",
            help_text="Names and globs with commas between them.",
        ),
        "People",
    ),
    _number(
        "user_rate_limits.rpm", "People", "Requests a minute of each user", most=10_000_000, required=False
    ),
    _number(
        "user_rate_limits.tpm",
        "People",
        "Tokens a minute of each user",
        most=1_000_000_000_000,
        required=False,
    ),
)


class PolicyForm(forms.Form):
    """The entries, and which policy they were made from."""

    read = forms.CharField(max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for entry in ENTRIES:
            self.fields[entry.name] = deepcopy(entry.field)

    def groups(self) -> list[tuple[str, list[Any]]]:
        """The fields under their headings, in the order of the entries."""
        found: dict[str, list[Any]] = {}
        for entry in ENTRIES:
            found.setdefault(entry.group, []).append(self[entry.name])
        return list(found.items())


@page(Right.CONFIGURE)
def show_policy(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/policy/`."""
    stored = visitor.tenant.policy or {}
    policy = parse_policy(stored)
    initial = {entry.name: entry.value_in(policy) for entry in ENTRIES} | {"read": digest_of(stored)}
    form = PolicyForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            is_new = set_policy(
                visitor.tenant,
                changed(stored, policy, form.cleaned_data),
                read=form.cleaned_data["read"],
                is_operator=False,
                acting_user=visitor.user,
            )
        except (ValidationError, ChangedMeanwhile) as error:
            form.add_error(None, error if isinstance(error, ValidationError) else str(error))
        else:
            messages.success(request, "Saved: it counts within a second." if is_new else "Nothing changed.")
            return redirect(address(visitor, "policy"))
    return show(request, visitor, "policy.html", {"form": form}, title="Policy")


def _as_stored(entry: Entry, answer: Any) -> Any:
    """Raises ValidationError for a line that cannot be read."""
    known = policy_fields().get(entry.path)
    if known is None or known.kind not in ("lines", "tags", "teams"):
        return answer
    return read(known, answer.replace(",", "\n") if known.kind == "lines" else answer.replace("\r", ""))


def changed(stored: Mapping[str, Any], policy: Policy, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The stored policy with the answers that differ from what it says now."""
    wanted: dict[str, Any] = deepcopy(dict(stored))
    for entry in ENTRIES:
        answer = answers[entry.name]
        if answer == entry.value_in(policy):
            continue
        answer = _as_stored(entry, answer)
        part = wanted
        for step in entry.path[:-1]:
            part = part.setdefault(step, {})
        part[entry.path[-1]] = answer
    return wanted
