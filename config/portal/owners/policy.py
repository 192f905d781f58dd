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

from config.portal.access import OWNERS, Visitor, page
from config.portal.layout import address, show
from tenants.policies.editing import ChangedMeanwhile, digest_of, set_policy
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
        return ", ".join(value) if isinstance(value, tuple) else value


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


@page(OWNERS)
def show_policy(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/policy/`."""
    stored = visitor.tenant.policy or {}
    policy = parse_policy(stored)
    initial = {entry.name: entry.value_in(policy) for entry in ENTRIES} | {"read": digest_of(stored)}
    form = PolicyForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        wanted = changed(stored, policy, form.cleaned_data)
        read = form.cleaned_data["read"]
        try:
            is_new = set_policy(
                visitor.tenant, wanted, read=read, is_operator=False, acting_user=visitor.user
            )
        except (ValidationError, ChangedMeanwhile) as error:
            form.add_error(None, error if isinstance(error, ValidationError) else str(error))
        else:
            messages.success(request, "Saved: it counts within a second." if is_new else "Nothing changed.")
            return redirect(address(visitor, "policy"))
    return show(request, visitor, "policy.html", {"form": form}, title="Policy")


def changed(stored: Mapping[str, Any], policy: Policy, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The stored policy with the answers that differ from what it says now."""
    wanted: dict[str, Any] = deepcopy(dict(stored))
    for entry in ENTRIES:
        answer = answers[entry.name]
        if answer == entry.value_in(policy):
            continue
        if entry.path[-1] == "key_models":
            answer = [name.strip() for name in answer.split(",") if name.strip()]
        part = wanted
        for step in entry.path[:-1]:
            part = part.setdefault(step, {})
        part[entry.path[-1]] = answer
    return wanted
