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


def limit_field(label: str, help_text: str) -> forms.IntegerField:
    """One of the limits."""
    return forms.IntegerField(
        min_value=1,
        max_value=LARGEST,
        required=False,
        label=label,
        help_text=help_text,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"min": "1", "placeholder": "no limit"}),
    )


class RateLimitFields(forms.Form):
    """The three fields, for the form of a row with `rate_limits`."""

    rpm = limit_field("Requests a minute", "Empty: no limit.")
    tpm = limit_field("Tokens a minute", "Input and output together. Empty: no limit.")
    concurrency = limit_field("Calls at one time", "Empty: no limit.")

    def show_limits(self, limits: Mapping[str, Any] | None) -> None:
        """Fill the fields in with what is stored."""
        self.initial.update({name: (limits or {}).get(name) for name in FIELDS})

    def chosen_limits(self) -> dict[str, int]:
        """What was chosen, as it is stored."""
        return {name: self.cleaned_data[name] for name in FIELDS if self.cleaned_data.get(name)}
