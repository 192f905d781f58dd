"""Validators of the tenants app's columns.

Invariant: every check raises Django's ValidationError with a sentence that says what is wrong. The admin and the
configuration file reject the same values with the same message.
"""

import ipaddress
import zoneinfo
from collections.abc import Callable
from functools import cache
from typing import Any

from django.core.exceptions import ValidationError

from tenants.allocation import COST_CENTER, InvalidTags, check_tags
from tenants.patterns import check_patterns
from tenants.policy import Policy, parse_policy, parse_rate_limits
from tenants.principal import KeyRight


def validate_timezone(value: str) -> None:
    """An IANA time zone name. Names that depend on the machine, such as localtime, are rejected."""
    if value not in timezones():
        raise ValidationError(f"{value!r} is not an IANA time zone name such as Europe/Berlin")


@cache
def timezones() -> frozenset[str]:
    """The names of the time zones that a tenant may have."""
    return frozenset(zoneinfo.available_timezones() - {"localtime", "Factory"})


def validate_rate_limits(value: Any) -> None:
    """`{"rpm": int, "tpm": int, "concurrency": int}`, each optional: no entry, no limit."""
    try:
        parse_rate_limits(value)
    except ValueError as error:
        raise ValidationError(str(error)) from error


def validate_tags(value: Any) -> None:
    """`{"project": "search"}`: what `x-purser-tags` could say."""
    try:
        check_tags(value)
    except InvalidTags as error:
        raise ValidationError(str(error)) from error


def validate_tags_of_user(value: Any) -> None:
    """The same of a user, whose cost centre is a column."""
    try:
        check_tags(value, without=(COST_CENTER,))
    except InvalidTags as error:
        raise ValidationError(str(error)) from error


def validate_key_rights(value: Any) -> None:
    """A list of names of `KeyRight`."""
    known = [right.value for right in KeyRight]
    if not isinstance(value, list) or not all(isinstance(name, str) and name in known for name in value):
        raise ValidationError(f"must be a list of rights: {', '.join(known)}")


def validate_models(value: Any) -> None:
    """A list of model names or globs."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValidationError('must be a list of model names or globs such as ["gpt-*"]')


def validate_ip_allow_list(value: Any) -> None:
    """A list of addresses or networks."""
    if not isinstance(value, list):
        raise ValidationError('must be a list of networks such as ["10.0.0.0/8"]')
    for item in value:
        try:
            ipaddress.ip_network(item)
        except (ValueError, TypeError) as error:
            raise ValidationError(f"{item!r} is not an address or a network such as 10.0.0.0/8") from error


# checks of other apps for the models and embedders that a policy names; each raises InvalidPolicy
checks_of_policies: list[Callable[[Policy], None]] = []


def validate_policy(value: Any) -> None:
    """A tenant's policy that `parse_policy` accepts, and whose named objects exist."""
    try:
        policy = parse_policy(value)
        check_patterns(policy)
        for check in checks_of_policies:
            check(policy)
    except ValueError as error:
        raise ValidationError(str(error)) from error
