"""Forms of the portal, and what its fields have in common: bounds, and moments in UTC.

Invariant: a form bounds every text and number; what is allowed beyond that, the function decides that it calls.
"""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.timezone import now

from billing.models import Budget
from billing.scopes import scope_choices
from tenants.keys.own_keys import LONGEST_LABEL
from tenants.models import Membership
from tenants.principal import KeyRight
from tenants.tag_fields import TagsField

SMALLEST: Final = Decimal("0.000000000001")
MOST_SHARES: Final = 10
GRACES: Final = (
    ("0", "ends at once"),
    ("3600", "is good for another hour"),
    ("86400", "is good for another day"),
    ("604800", "is good for another 7 days"),
)


def take_errors(form: forms.Form, error: ValidationError) -> None:
    """Show what a function refused at the fields of that name, and the rest above the form."""
    if not hasattr(error, "error_dict"):
        form.add_error(None, error)
        return
    for name, problems in error.message_dict.items():
        form.add_error(name if name in form.fields else None, problems)


class AmountField(forms.DecimalField):
    """An amount of a budget."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=SMALLEST, max_digits=28, decimal_places=12, **options)
        self.widget.attrs["inputmode"] = "decimal"


class MomentField(forms.DateTimeField):
    """A moment in UTC, picked with the browser's own calendar."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def __init__(self, **options: Any) -> None:
        super().__init__(input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"], **options)


class OwnKeyForm(forms.Form):
    """A new key of one's own."""

    label = forms.RegexField(
        r"^[\w .-]+$",
        max_length=LONGEST_LABEL,
        label="Name",
        help_text="Where you will use it, such as laptop or ci.",
        error_messages={"invalid": "Letters, digits, spaces, dots and dashes."},
    )
    days = forms.IntegerField(min_value=1, label="Days until it ends")
    models = forms.MultipleChoiceField(
        required=False,
        label="Only these models",
        widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: all that your tenant allows.",
    )

    def __init__(self, *args: Any, models: Sequence[str], most_days: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["models"].choices = [(name, name) for name in models]  # type: ignore[attr-defined]
        days = self.fields["days"]
        days.initial, days.help_text = min(90, most_days), f"At most {most_days:,}."
        days.widget.attrs["max"] = most_days


class ServiceKeyForm(forms.Form):
    """A key that an owner makes, for a service or for a person."""

    name = forms.CharField(max_length=100)
    user = forms.CharField(
        max_length=200,
        required=False,
        help_text="Counted whatever user a call names. Empty: a service's, whose calls name their users.",
    )
    models = forms.CharField(
        max_length=1000,
        initial="*",
        help_text="Names and globs with commas between them, such as gpt-*; * is every model.",
    )
    tags = TagsField(label="Tags")
    days = forms.IntegerField(
        min_value=1,
        max_value=3650,
        required=False,
        label="Days until it ends",
        help_text="Empty: it does not end.",
    )

    rights = forms.MultipleChoiceField(
        required=False,
        choices=[(KeyRight.REPORTS.value, "read the tenant's reports, statements and chargebacks")],
        widget=forms.CheckboxSelectMultiple,
        label="May also",
        help_text="Of a person's key; a service's may anyway.",
    )

    def clean_models(self) -> list[str]:
        return [name.strip() for name in self.cleaned_data["models"].split(",") if name.strip()]


class RotationForm(forms.Form):
    """What becomes of the former secret."""

    grace = forms.ChoiceField(choices=GRACES, initial="86400", label="The former secret")

    @property
    def grace_time(self) -> timedelta:
        return timedelta(seconds=int(self.cleaned_data["grace"]))


class RaiseForm(forms.Form):
    """How much more, until when, and why."""

    extra_amount = AmountField(label="More", help_text="On top of the limit.")
    ends_at = MomentField(label="Until (UTC)")
    reason = forms.CharField(max_length=300, help_text="Read by those who decide.")

    def clean_ends_at(self) -> Any:
        if self.cleaned_data["ends_at"] <= now():
            raise ValidationError("The end must be in the future.")
        return self.cleaned_data["ends_at"]


class DecisionForm(forms.Form):
    """What to say about a decision; a refusal says why."""

    reason = forms.CharField(max_length=300, required=False, label="Remark")


class LimitForm(forms.Form):
    """How much a budget allows, and what happens beyond."""

    limit_amount = forms.DecimalField(min_value=0, max_digits=28, decimal_places=12, label="Limit")
    mode = forms.ChoiceField(
        choices=[("hard", "refuse what does not fit"), ("soft", "only watch")], label="What does not fit"
    )


class BudgetForm(LimitForm):
    """A new budget of the tenant's own."""

    scope = forms.ChoiceField(choices=scope_choices, label="Limits the")
    value = forms.CharField(
        max_length=200,
        required=False,
        label="Which one",
        help_text="A user, key, feature, … by its name; empty: each one by itself. Of a tenant always empty.",
    )
    unit = forms.ChoiceField(choices=Budget.Unit)
    period = forms.ChoiceField(choices=Budget.Period, initial="month")
    alert_at = forms.CharField(
        max_length=100,
        initial="80, 100",
        label="Notify at, percent",
        help_text="Shares with commas between them.",
    )
    field_order = ("scope", "value", "limit_amount", "unit", "period", "mode", "alert_at")

    def clean_alert_at(self) -> list[int]:
        try:
            shares = sorted(
                {int(share) for share in self.cleaned_data["alert_at"].split(",") if share.strip()}
            )
        except ValueError:
            raise ValidationError("Whole numbers with commas between them, such as 50, 80, 100.") from None
        if len(shares) > MOST_SHARES or any(not 0 < share <= 1000 for share in shares):
            raise ValidationError(f"At most {MOST_SHARES} shares from 1 to 1000.")
        return shares


class MembershipForm(forms.Form):
    """What a person is in the tenant."""

    role = forms.ChoiceField(choices=Membership.Role)
    person = forms.CharField(
        max_length=200,
        required=False,
        label="User id",
        help_text="As calls name the person (x-purser-user): its keys, spend and requests are the person's own.",
    )


class InvitationForm(forms.Form):
    """Somebody to invite."""

    email = forms.EmailField(max_length=254, label="E-mail")
    role = forms.ChoiceField(choices=Membership.Role.choices, label="Role")
    person = forms.CharField(
        max_length=200,
        required=False,
        label="User id",
        help_text="As your calls name them in x-purser-user: its keys, requests and spend are then their own.",
    )
