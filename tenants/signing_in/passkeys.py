"""What browsers send of passkeys: read strictly before django-allauth and fido2 see it, and bounded.

Invariant: an answer that is no passkey's, whatever it is, is a wrong answer like any other: a message at the form, counted
against guessing where the account is known. Nothing of an answer is kept but what the standard names.
"""

import struct
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar

from allauth.mfa.base.internal.flows import check_rate_limit
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    EditWebAuthnForm,
    LoginWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from cryptography.exceptions import InvalidKey, InvalidSignature, UnsupportedAlgorithm
from django import forms
from django.core.exceptions import ValidationError
from fido2 import cbor
from fido2.utils import websafe_decode
from fido2.webauthn import AuthenticatorData
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic import ValidationError as ShapeError
from pydantic.alias_generators import to_camel

T = TypeVar("T")
Shape = TypeVar("Shape", bound="_Answer")

LONGEST_ANSWER: Final = 16_000  # with a certificate of the maker some 6,000
LONGEST_NAME: Final = 100
MOST_PASSKEYS: Final = 20  # of one person
WRONG: Final = "incorrect_code"  # what django-allauth calls every wrong answer
NOT_ACCEPTED: Final = "This passkey was not accepted. Try again."
# fido2 raises whatever the bytes lead to: it does not ask first what they are
UNREADABLE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    InvalidKey,
    LookupError,
    RuntimeError,
    ShapeError,
    struct.error,
    TypeError,
    UnsupportedAlgorithm,
    ValueError,
)

Bytes = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=LONGEST_ANSWER)]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True)


class _Properties(_Part):
    rk: bool | None = None


class _Extensions(_Part):
    cred_props: _Properties | None = None


class _Answer(_Part):
    id: Bytes
    raw_id: Bytes
    type: Literal["public-key"]
    authenticator_attachment: Literal["platform", "cross-platform"] | None = None
    client_extension_results: _Extensions = _Extensions()
    response: Any


class _Signed(_Part):
    client_data: Bytes = Field(alias="clientDataJSON")
    authenticator_data: Bytes
    signature: Bytes
    user_handle: Bytes | None = None


class _Made(_Part):
    client_data: Bytes = Field(alias="clientDataJSON")
    attestation_object: Bytes


class Signature(_Answer):
    """The answer of a passkey that somebody signs in with."""

    response: _Signed


class NewPasskey(_Answer):
    """The answer of a passkey that was just made."""

    response: _Made


class _ClientData(_Part):
    """What the browser says of the page. fido2 would make as many bytes as a challenge that is a number says."""

    type: str
    challenge: Bytes
    origin: str
    cross_origin: bool = False


class AnswerField(forms.CharField):
    """The text of an answer, as a script puts it into the form."""

    def __init__(self) -> None:
        messages = dict.fromkeys(("required", "max_length", "null_characters_not_allowed"), NOT_ACCEPTED)
        super().__init__(max_length=LONGEST_ANSWER, widget=forms.HiddenInput, error_messages=messages)


class SecondStepForm(AuthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey after the password."""

    credential = AnswerField()

    def clean_credential(self) -> Authenticator:
        return _authenticator(self, super().clean_credential)


class SignInForm(LoginWebAuthnForm):  # type: ignore[misc]
    """A passkey instead of the password."""

    credential = AnswerField()

    def clean_credential(self) -> Authenticator:
        return _authenticator(self, super().clean_credential)


class OnceMoreForm(ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey once more, before something that matters."""

    credential = AnswerField()

    def clean_credential(self) -> Authenticator:
        return _authenticator(self, super().clean_credential)


class NewPasskeyForm(AddWebAuthnForm):  # type: ignore[misc]
    """A passkey that a person adds. One that could never sign in is refused at once."""

    name = forms.CharField(required=False, max_length=LONGEST_NAME)
    credential = AnswerField()
    passwordless = forms.BooleanField(
        label="Signs in without a password",
        required=False,
        help_text="It then has to know its person: by a fingerprint, a face or a PIN.",
    )

    def clean_credential(self) -> dict[str, Any]:
        owned = Authenticator.objects.filter(user=self.user, type=Authenticator.Type.WEBAUTHN)
        if owned.count() >= MOST_PASSKEYS:
            raise ValidationError(f"You have {MOST_PASSKEYS} passkeys: remove one first.")
        text: str = self.cleaned_data["credential"]
        return _attempt(lambda: _new_passkey(text))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = _attempt(super().clean)
        return cleaned


class RenameForm(EditWebAuthnForm):  # type: ignore[misc]
    """The name of a passkey."""

    name = forms.CharField(max_length=LONGEST_NAME)


def _authenticator(form: Any, check: Callable[[], Authenticator]) -> Authenticator:
    text: str = form.cleaned_data["credential"]
    try:
        form.cleaned_data["credential"] = _attempt(lambda: _read(Signature, text))
    except ValidationError:
        if form.user is not None:
            check_rate_limit(form.user)
        raise
    return _attempt(check)


def _attempt(act: Callable[[], T]) -> T:
    """Do it; whatever an answer leads to is that it is not accepted."""
    try:
        return act()
    except ValidationError as error:
        if getattr(error, "code", "") != WRONG:
            raise  # too many attempts
        raise ValidationError(NOT_ACCEPTED, code=WRONG) from None
    except UNREADABLE:
        raise ValidationError(NOT_ACCEPTED, code=WRONG) from None


def _new_passkey(text: str) -> dict[str, Any]:
    answer = _read(NewPasskey, text)
    attested: Any = cbor.decode(websafe_decode(answer["response"]["attestationObject"]))
    if not isinstance(attested["authData"], bytes):  # a number would become as many bytes
        raise TypeError
    data = AuthenticatorData(attested["authData"]).credential_data
    if data is None:
        raise ValueError
    try:
        data.public_key.verify(b"", b"")
    except InvalidSignature:
        return answer
    raise ValueError


def _read(shape: type[Shape], text: str) -> dict[str, Any]:
    answer = shape.model_validate_json(text)
    _ClientData.model_validate_json(websafe_decode(answer.response.client_data))
    return answer.model_dump(by_alias=True, exclude_none=True)
