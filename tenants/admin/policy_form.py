"""A policy as a form: a field for each of the policy's, filled in with what is in force.

Invariant: nothing is judged here. The form makes the changed policy, and the code that checks every policy says what is wrong
with it; its errors are shown at the field they name. What the form does not show is not touched.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from tenants.allocation import InvalidTags, as_text, from_text
from tenants.models import Tenant
from tenants.policies.editing import check_change
from tenants.policies.fields import PolicyField, changed, policy_fields, value_at
from tenants.policies.steps import Step, is_platforms, steps
from tenants.policy import InvalidPolicy, Policy, parse_policy

MOST_LINES: Final = 200
MOST_CHARACTERS: Final = 10_000


class PolicyForm(forms.Form):
    """The fields of all steps. `wanted` is the policy that was asked for, once the form is valid."""

    def __init__(self, *args: Any, tenant: Tenant, is_operator: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tenant, self.is_operator = tenant, is_operator
        self.wanted: dict[str, Any] = tenant.policy or {}
        in_force = _in_force(tenant)
        for path, one in policy_fields().items():
            field = form_field(one)
            field.disabled = is_platforms(path) and not is_operator
            self.fields[one.name] = field
            self.initial[one.name] = shown(one, value_at(in_force, path))
        for step in steps():
            for text, label in step.labels.items():
                self.fields[text.replace(".", "__")].label = label

    def parts(self) -> list[tuple[Step, Any, list[Any]]]:
        """Each step with its switch and its other fields, bound, for the template."""
        found = []
        for step in steps():
            names = ["__".join(path) for path in step.paths if path in policy_fields()]
            bound = [self[name] for name in names]
            found.append((step, bound[0] if step.switch else None, bound[1:] if step.switch else bound))
        return found

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        known = policy_fields()
        changes: dict[Any, Any] = {}
        for path, one in known.items():
            if one.name in self.changed_data and one.name in cleaned:
                try:
                    changes[path] = stored(one, cleaned[one.name])
                except ValidationError as error:
                    self.add_error(one.name, error)
        self.wanted = changed(self.tenant.policy, changes)
        if self.errors:
            return cleaned
        try:
            check_change(self.tenant.policy, self.wanted, is_operator=self.is_operator)
        except ValidationError as error:
            for message in error.messages:
                self.add_error(self._field_of(message), message)
        return cleaned

    def _field_of(self, message: str) -> str | None:
        """The field that an error names: "policy.cache.threshold: ..." is of cache__threshold."""
        path = re.split(r"[:\[ ]", message.removeprefix("policy."), maxsplit=1)[0].split(".")
        while path:
            if "__".join(path) in self.fields:
                return "__".join(path)
            path.pop()
        return None


def form_field(one: PolicyField) -> forms.Field:
    """The form's field for a policy's. Empty is the default, except for texts and lists."""
    help_text = _help(one)
    common: dict[str, Any] = {"required": False, "help_text": help_text}
    match one.kind:
        case "switch":
            return forms.BooleanField(widget=UnfoldBooleanSwitchWidget(), **common)
        case "choice":
            choices = [(value, str(value).replace("_", " ")) for value in one.choices]
            return forms.ChoiceField(choices=choices, widget=UnfoldAdminSelectWidget(), **common)
        case "choices":
            choices = [(value, str(value).replace("_", " ")) for value in one.choices]
            return forms.MultipleChoiceField(
                choices=choices, widget=UnfoldAdminCheckboxSelectMultipleWidget(), **common
            )
        case "whole":
            placeholder = "no limit" if one.default is None else f"{one.default}"
            widget = UnfoldAdminIntegerFieldWidget(attrs={"placeholder": placeholder})
            return forms.IntegerField(widget=widget, **common)
        case "number":
            widget = UnfoldAdminDecimalFieldWidget(attrs={"placeholder": f"{one.default}", "step": "any"})
            return forms.FloatField(widget=widget, **common)
        case "text":
            return forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget(), **common)
    return forms.CharField(
        max_length=MOST_CHARACTERS, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), **common
    )


def shown(one: PolicyField, value: Any) -> Any:
    """A stored value as its field shows it."""
    match one.kind:
        case "lines":
            return "\n".join(value)
        case "pressure":
            return "\n".join(_line(rule) for rule in value)
        case "shares":
            return "\n".join(f"{name} {percent:g}" for name, percent in value.items())
        case "tags":
            return "\n".join(f"{name}={text}" for name, text in value.items())
        case "teams":
            return "\n".join(f"{name}: {as_text(tags)}" for name, tags in value.items())
    return value


def stored(one: PolicyField, value: Any) -> Any:
    """What a field says, as it is stored; raises ValidationError for a line that cannot be read."""
    match one.kind:
        case "whole" | "number":
            return one.default if value is None else value
        case "choice" | "text":
            return value or one.default
        case "choices":
            return list(value)
        case "lines":
            return _lines(value)
        case "pressure":
            return [_rule(line) for line in _lines(value)]
        case "shares":
            return dict(_share(line) for line in _lines(value))
        case "tags":
            return _tags(value)
        case "teams":
            return dict(_team(line) for line in _lines(value))
    return value


def _lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > MOST_LINES:
        raise ValidationError(f"at most {MOST_LINES} lines")
    return lines


def _line(rule: Mapping[str, Any]) -> str:
    action = f"demote {rule['demote']}" if rule.get("demote") else f"only {rule.get('only')}"
    return f"{rule['at_percent']:g} {action}{' named' if rule.get('applies_to_named') else ''}"


def _rule(line: str) -> dict[str, Any]:
    match line.replace("%", " ").split():
        case [at, ("demote" | "only") as verb, tier]:
            return {"at_percent": _percent(at), verb: tier}
        case [at, ("demote" | "only") as verb, tier, "named"]:
            return {"at_percent": _percent(at), verb: tier, "applies_to_named": True}
    raise ValidationError(f"{line[:60]!r} is no rule such as “90 demote complex” or “95 only simple”")


def _share(line: str) -> tuple[str, float]:
    match line.rstrip("% ").rsplit(maxsplit=1):
        case [name, at]:
            return name, _percent(at)
    raise ValidationError(f"{line[:60]!r} is no name with a number such as “newsletter 90”")


def _tags(text: str) -> dict[str, str]:
    try:
        return from_text(text)
    except InvalidTags as error:
        raise ValidationError(str(error)) from None


def _team(line: str) -> tuple[str, dict[str, str]]:
    name, sign, tags = line.partition(":")
    if not sign or not name.strip():
        raise ValidationError(f"{line[:60]!r} is no team such as “search: cost_center=4711, project=apollo”")
    return name.strip(), _tags(tags)


def _percent(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValidationError(f"{text!r} is no number") from None
    return int(number) if number.is_integer() else number


def _help(one: PolicyField) -> str:
    bounds = dict(one.bounds)
    least, most = bounds.get("least", bounds.get("above")), bounds.get("most", bounds.get("below"))
    if one.kind not in ("whole", "number") or (least is None and most is None):
        return ""
    if most is None:
        return f"From {least:,}." if "least" in bounds else f"Above {least:,}."
    return f"{least:,} to {most:,}."


def _in_force(tenant: Tenant) -> Policy:
    try:
        return parse_policy(tenant.policy)
    except InvalidPolicy:  # of an older release: it is shown as JSON, and the form begins from the defaults
        return Policy()
