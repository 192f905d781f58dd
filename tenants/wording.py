"""Turns each of Pydantic's errors into one sentence, for people who write policies and configuration files.

Invariant: pure. Only short scalar values are repeated. A caller whose fields may hold secrets passes `show_value=False`.
"""

from typing import Any


def sentence_about(finding: Any, *, show_value: bool = True) -> str:
    """What is wrong, given one entry of `ValidationError.errors()`; the caller adds the field's name."""
    kind, context = finding["type"], finding.get("ctx", {})
    value = f", not {finding['input']!r}" if show_value and _is_short_scalar(finding.get("input")) else ""
    match kind:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return "is not known here"
        case "missing" | "missing_argument":
            return "is missing"
        case "literal_error" | "enum":
            return f"must be {context['expected']}{value}"
        case "bool_type" | "bool_parsing":
            return f"must be true or false{value}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number{value}"
        case "float_type" | "float_parsing":
            return f"must be a number{value}"
        case "string_type":
            return f"must be text{value}"
        case "decimal_type" | "decimal_parsing" | "decimal_max_places" | "decimal_max_digits":
            return f"must be a decimal number{value}"
        case "list_type" | "tuple_type":
            return f"must be a list{value}"
        case "dict_type" | "mapping_type" | "model_type" | "model_attributes_type" | "dataclass_type":
            return f"must be a block of keys and values{value}"
        case "greater_than":
            return f"must be above {context['gt']}{value}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}{value}"
        case "less_than":
            return f"must be below {context['lt']}{value}"
        case "less_than_equal":
            return f"must be at most {context['le']}{value}"
        case "string_too_short" if context.get("min_length") == 1:
            return "must not be empty"
        case "string_too_short":
            return f"must have at least {context['min_length']} characters"
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "value_error":
            return str(context["error"])
        case _:
            return str(finding["msg"]).removeprefix("Value error, ").rstrip(".")


def _is_short_scalar(value: Any) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and len(value) <= 60)
    )
