"""JSON as nobody's library writes it, so that whoever writes it anew is found out."""

import json
import random
from typing import Any


def written_oddly(value: Any, style: random.Random) -> str:
    """The value as JSON with white space everywhere, escapes where none are needed, 1.000 and 1.0e0 for 1.0."""
    space = style.choice(["", " ", "\n\t", "\r\n "])
    if isinstance(value, dict):
        members = [
            f"{_odd_text(name, style)}{space}:{space}{written_oddly(it, style)}" for name, it in value.items()
        ]
        return "{" + space + f"{space},".join(members) + space + "}"
    if isinstance(value, list):
        return "[" + space + f",{space}".join(written_oddly(item, style) for item in value) + space + "]"
    if isinstance(value, str):
        return _odd_text(value, style)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return style.choice([f"{value:.1f}", f"{value:.3f}", f"{value:.1f}e0"])
    return json.dumps(value)


def _odd_text(text: str, style: random.Random) -> str:
    return json.dumps(text, ensure_ascii=style.random() < 0.5).replace("/", "\\/")
