"""Tags as one field of a form: “project=search, env=prod”, as the header has them.

Invariant: what a field gives is checked by the same code as a configuration file's.
"""

from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError

from tenants.allocation import InvalidTags, as_text, from_text

LONGEST: Final = 4_000
HINT: Final = "Of calls that do not say otherwise, with commas between them: project=search, env=prod"


class TagsField(forms.CharField):
    """Tags; empty for none."""

    def __init__(self, **options: Any) -> None:
        usual: dict[str, Any] = {"max_length": LONGEST, "required": False, "help_text": HINT}
        super().__init__(**usual | options)

    def prepare_value(self, value: Any) -> Any:
        return as_text(value) if isinstance(value, Mapping) else value

    def to_python(self, value: Any) -> Any:
        try:
            return from_text(super().to_python(value) or "")
        except InvalidTags as error:
            raise ValidationError(str(error)) from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(from_text(data or "") != (initial or {}))
        except InvalidTags:
            return True
