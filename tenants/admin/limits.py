"""Rate limits as three fields of a form, of tenants and of keys.

Invariant: an empty field is no limit; what is stored is checked by the same code as a configuration file's.
"""

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget

FIELDS: Final = ("rpm", "tpm", "concurrency")
LARGEST: Final = 2_000_000_000
UNITS: Final = {"rpm": "requests/min", "tpm": "tokens/min", "concurrency": "at one time"}


def limits_in_words(limits: Mapping[str, Any] | None) -> str:
    """Rate limits in a few words: "600 requests/min, 50 at one time"; "" if there is none."""
    limits = limits or {}
    return ", ".join(f"{limits[name]:,} {UNITS[name]}" for name in FIELDS if limits.get(name))


def limit_field(label: str, help_text: str, *, initial: int | None = None) -> forms.IntegerField:
    """One of the limits."""
    return forms.IntegerField(
        min_value=1,
        max_value=LARGEST,
        required=False,
        initial=initial,
        label=label,
        help_text=help_text,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"min": "1", "placeholder": "no limit"}),
    )


class RateLimitFields(forms.Form):
    """The three fields, for the form of a model with `rate_limits`."""

    rpm = limit_field("Requests a minute", "Empty: no limit.")
    tpm = limit_field("Tokens a minute", "Input and output. Empty: no limit.")
    concurrency = limit_field("Calls at one time", "Empty: no limit.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: Any = getattr(self, "instance", None)
        stored = (row.rate_limits if row is not None else None) or {}
        self.initial = {**{name: stored.get(name) for name in FIELDS}, **self.initial}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if FIELDS[0] in self.fields and hasattr(self, "instance"):
            self.instance.rate_limits = chosen_limits(cleaned)
        return cleaned


def chosen_limits(cleaned: Mapping[str, Any]) -> dict[str, int]:
    """What was chosen, as it is stored."""
    return {name: cleaned[name] for name in FIELDS if cleaned.get(name)}


def with_limits_read_only(fieldsets: Any) -> list[Any]:
    """The same fieldsets with the limits as a text."""
    return [
        (
            title,
            {**options, "fields": ("shown_limits",) if FIELDS in options["fields"] else options["fields"]},
        )
        for title, options in fieldsets
    ]
