"""Owns answers that must match a JSON schema.

Invariant: the value made for a schema validates against it, for every schema the providers accept as
structured output; words and numbers are taken from the question where they fit.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from llm.sandbox.replies.patterns import string_for

DEEPEST = 12
LONGEST_SEARCHED = 4_000  # some of the expressions take quadratic time
PROPER_NAME = re.compile(r"\b[A-ZÄÖÜ][\w'-]+(?:\s+[A-ZÄÖÜ][\w'-]+)*")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
QUOTED = re.compile(r"[\"“']([^\"”']{2,80})[\"”']")
DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
SENTENCE_STARTS = frozenset(
    re.findall(
        r"\S+",
        """
    The A An What Which Who Where When Why How Is Are Can Could Please Extract Return Give Tell List
    Summarize Summarise Classify Answer Write Use Call Get Find Solve Compute Calculate Translate I
    My It This That Do Does Will Would Should If In On At For From To And Or Json JSON Set Show Look
    Book Send Create Add Name Generate
    """,
    )
)
FORMATS = {
    "date": "2026-01-15",
    "date-time": "2026-01-15T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "PT1H",
    "email": "alex@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "uri": "https://example.com/",
}


class Facts:
    """Words and numbers of the question, handed out in order."""

    def __init__(self, question: str, answer: str) -> None:
        self.question = question = question[:LONGEST_SEARCHED]
        self.answer = answer
        self.names = _names(question)
        self._next_name: Iterator[str] = iter(self.names)
        self._next_number = iter(NUMBER.findall(question))
        self._next_quoted = iter(QUOTED.findall(question))

    def name(self) -> str:
        """The next proper name, else the first one, else a plain one."""
        return next(self._next_name, self.names[0] if self.names else "Alex Example")

    def number(self) -> float | None:
        """The next number of the question; None when there are no more."""
        text = next(self._next_number, None)
        return None if text is None else float(text)

    def quoted(self) -> str | None:
        """The next quoted passage."""
        return next(self._next_quoted, None)


def value_for(schema: dict[str, Any], *, question: str, answer: str = "") -> Any:
    """A value that validates against the schema."""
    return _value(schema, root=schema, name="", facts=Facts(question, answer), depth=0)


def _value(schema: Any, *, root: dict[str, Any], name: str, facts: Facts, depth: int) -> Any:
    if not isinstance(schema, dict):
        return facts.answer or "yes"
    schema = _resolved(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return _choice(schema["enum"], facts.question)
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            options = [_resolved(option, root) for option in schema[word]]
            chosen = _shallowest(options) if depth > DEEPEST // 2 else options[0]
            return _value(chosen, root=root, name=name, facts=facts, depth=depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = (
            "null" if depth > DEEPEST and "null" in kind else next((k for k in kind if k != "null"), "null")
        )
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    if kind == "object":
        return _object(schema, root=root, facts=facts, depth=depth)
    if kind == "array":
        return _array(schema, root=root, name=name, facts=facts, depth=depth)
    if kind in ("integer", "number"):
        return _number(schema, kind=kind, facts=facts, name=name)
    if kind == "boolean":
        return not re.search(r"\b(not|no|never|n't)\b", facts.question.lower())
    return None if kind == "null" else _string(schema, name=name, facts=facts)


def _resolved(given: Any, root: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    schema: dict[str, Any] = given
    for _ in range(DEEPEST):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target: Any = root
        for step in reference[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            target = target.get(step, {}) if isinstance(target, dict) else {}
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    for part in schema.get("allOf") or ():
        part = _resolved(part, root)
        schema = {
            **schema,
            **part,
            "properties": {**schema.get("properties", {}), **part.get("properties", {})},
            "required": [*schema.get("required", ()), *part.get("required", ())],
        }
    if "allOf" in schema:
        schema = {key: value for key, value in schema.items() if key != "allOf"}
        if not schema["properties"]:
            del schema["properties"]
    return schema


def _shallowest(options: list[dict[str, Any]]) -> dict[str, Any]:
    ranks = {"null": 0, "boolean": 1, "integer": 1, "number": 1, "string": 1, "array": 2, "object": 3}
    return min(options, key=lambda option: ranks.get(str(option.get("type")), 2))


def _object(schema: dict[str, Any], *, root: dict[str, Any], facts: Facts, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    required = schema.get("required") or ()
    wanted = [name for name in properties if depth < 3 or name in required]
    wanted += [name for name in required if name not in properties]
    return {
        name: _value(
            properties.get(name, {"type": "string"}), root=root, name=name, facts=facts, depth=depth + 1
        )
        for name in wanted
    }


def _array(schema: dict[str, Any], *, root: dict[str, Any], name: str, facts: Facts, depth: int) -> list[Any]:
    fixed = schema.get("prefixItems") or []
    values = [_value(item, root=root, name=name, facts=facts, depth=depth + 1) for item in fixed]
    items = schema.get("items", {"type": "string"})
    least, most = schema.get("minItems", 0), schema.get("maxItems", 1_000)
    usual = 0 if depth > DEEPEST // 2 or items is False else max(1, min(len(facts.names), 3))
    while len(values) < max(least, min(usual, most)):
        value = _value(items, root=root, name=name, facts=facts, depth=depth + 1)
        if schema.get("uniqueItems") and value in values:
            if len(values) >= least:
                break
            value = _distinct(value, len(values))
        values.append(value)
    return values[:most]


def _distinct(value: Any, index: int) -> Any:
    if isinstance(value, str):
        return f"{value} {index + 1}"
    return value + index if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _number(schema: dict[str, Any], *, kind: str, facts: Facts, name: str) -> int | float:
    taken = facts.number()
    value = 1.0 if taken is None else taken
    if taken is None and re.search(r"confidence|score|probability", name):
        value = 0.9 if kind == "number" else 9
    low, high = schema.get("minimum"), schema.get("maximum")
    step = schema.get("multipleOf")
    unit = step or (1 if kind == "integer" else 0.01)
    if schema.get("exclusiveMinimum") is not None:
        low = max(low if low is not None else -1e300, schema["exclusiveMinimum"] + unit)
    if schema.get("exclusiveMaximum") is not None:
        high = min(high if high is not None else 1e300, schema["exclusiveMaximum"] - unit)
    value = min(value if low is None else max(value, low), 1e300 if high is None else high)
    if step:
        value = (
            -(-(low or value) // step) * step if low is not None and value == low else value // step * step
        )
    if kind == "integer":
        return int(-(-value // 1)) if low is not None and value == low else int(value)
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def _string(schema: dict[str, Any], *, name: str, facts: Facts) -> str:
    if schema.get("pattern"):
        return string_for(schema["pattern"])
    if schema.get("format") in FORMATS:
        return _formatted(schema["format"], facts)
    text = _text_for(name.lower(), facts)
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    while len(text) < least:
        text = f"{text} {text or 'value'}".strip()
    return text if most is None else text[:most]


def _formatted(format_name: str, facts: Facts) -> str:
    found = {"date": DATE, "email": EMAIL}.get(format_name)
    match = found.search(facts.question) if found else None
    return match[0] if match else FORMATS[format_name]


def _text_for(name: str, facts: Facts) -> str:
    if re.search(r"e_?mail", name):
        return _formatted("email", facts)
    if "date" in name or name in ("day", "when"):
        match = DATE.search(facts.question)
        weekday = re.search(
            r"\b(Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b|\btomorrow\b|\btoday\b", facts.question
        )
        return match[0] if match else weekday[0] if weekday else FORMATS["date"]
    if re.search(
        r"name|city|location|place|person|author|company|country|participant|destination|origin", name
    ):
        return facts.name()
    if re.search(r"expression|formula|equation", name):
        match = re.search(r"[\d(][\d\s.+*/×x÷()^-]*\d\)?", facts.question)
        return match[0].strip() if match else facts.question
    if re.search(r"query|question|input|prompt|text", name):
        return facts.quoted() or facts.question
    if re.search(
        r"answer|summary|explanation|reason|description|output|response|message|content|result", name
    ):
        return facts.answer or facts.question
    return facts.quoted() or (facts.name() if facts.names else facts.answer or facts.question)[:200]


def _choice(options: list[Any], question: str) -> Any:
    """The option the question names, else the one its mood or its digest points to."""
    lowered = question.lower()
    for option in options:
        if isinstance(option, str) and re.search(
            rf"\b{re.escape(option.lower().replace('_', ' '))}\b", lowered
        ):
            before = lowered.count(option.lower())
            others = sum(1 for other in options if isinstance(other, str) and other.lower() in lowered)
            if before and others == 1:
                return option
    mood = mood_of(question)
    for option in options:
        if isinstance(option, str) and option.lower().startswith(mood[:3]):
            return option
    digest = hashlib.blake2b(lowered.encode(), digest_size=4).digest()
    return options[int.from_bytes(digest, "big") % len(options)]


def mood_of(text: str) -> str:
    """positive, negative or neutral, by the words used."""
    good = len(
        re.findall(
            r"\b(good|great|love\w*|excellent|happy|best|amazing|thank\w*|perfect|like[ds]?)\b", text, re.I
        )
    )
    bad = len(
        re.findall(
            r"\b(bad|terrible|hate\w*|awful|angry|worst|broken|disappoint\w*|poor|fail\w*|slow)\b", text, re.I
        )
    )
    return "positive" if good > bad else "negative" if bad > good else "neutral"


def _names(question: str) -> list[str]:
    names: list[str] = []
    for match in PROPER_NAME.finditer(question):
        words = match[0].split()
        while words and words[0] in SENTENCE_STARTS:
            words.pop(0)
        name = " ".join(words)
        if len(name) > 1 and name not in names:
            names.append(name)
    return names
