"""The task patterns: phrases that say what kind of work is asked for, and the tier that kind needs.

Invariant: a pattern speaks only where it is sure; what no pattern names is left to the score. The patterns of
light work hold only while the request is short and shows no code, because a long one hides more than its
first words say.
"""

import re
from dataclasses import dataclass
from typing import Final

LIGHT_WORK_WORDS: Final = 150
_CHARACTERS_READ: Final = 800  # at the head, and as many at the tail


@dataclass(frozen=True, slots=True)
class Task:
    """A kind of work and the tier it needs."""

    name: str
    tier: str


_HEAVY: Final = (
    ("proof", r"\b(?:prove|proof of|show) (?:that|by induction|rigorously|formally)\b|\b(?:dis)?prove\b"),
    (
        "design",
        r"\b(?:design|architect|propose|plan)\b.{0,60}\b(?:system|architecture|schema|protocol|algorithm|pipeline|platform|"
        r"service|infrastructure|migration|experiment)\b",
    ),
    (
        "debugging",
        r"\b(?:debug|root cause|race condition|deadlock|memory leak|stack trace|traceback|segfault)\b|"
        r"\bwhy (?:does|is|do)\b.{0,60}\b(?:fail|crash|hang|throw|leak)",
    ),
    (
        "code change",
        r"\b(?:refactor|rewrite|optimi[sz]e|port|migrate|review)\b.{0,60}\b(?:code|function|class|module|query)\b",
    ),
    (
        "legal or financial review",
        r"\b(?:contract|clause|liability|due diligence|balance sheet|valuation)\b.{0,120}"
        r"\b(?:risks?|review|assess|analy[sz]e)\b|"
        r"\b(?:review|assess|analy[sz]e)\b.{0,120}\b(?:contract|clause|liability|balance sheet)\b",
    ),
    ("trade-off analysis", r"\btrade-?offs?\b|\bpros and cons\b.{0,200}\brecommend"),
)
_LIGHT: Final = (
    (
        "greeting",
        r"^\W*(?:hi|hello|hey|thanks|thank you|good (?:morning|evening|afternoon)|ok(?:ay)?|bye)\b.{0,40}$",
    ),
    (
        "classification",
        r"^.{0,40}\b(?:(?:classify|categori[sz]e|label|tag) (?:this|the|these|each)|sentiment of)\b",
    ),
    (
        "extraction",
        r"^.{0,40}\b(?:extract|"
        r"list (?:all|the|every) (?:names?|dates?|e-?mails?|numbers?|entities|keywords?))\b",
    ),
    ("translation", r"^.{0,40}\b(?:translate|translation of)\b"),
    (
        "correction",
        r"^.{0,40}\b(?:(?:fix|correct|check)\b.{0,30}\b(?:grammar|spelling|typos?|punctuation)|proofread)\b",
    ),
    ("rewording", r"^.{0,40}\b(?:rephrase|paraphrase|reword|shorten)\b"),
    (
        "short summary",
        r"^.{0,40}\b(?:summari[sz]e|tl;?dr|summary)\b.{0,60}\b(?:one|two|three|1|2|3|single|short|brief)\b",
    ),
    (
        "conversion",
        r"^.{0,40}\b(?:convert|reformat)\b.{0,60}\b(?:to|as|into)\b.{0,20}\b(?:json|csv|yaml|xml|markdown|html)\b",
    ),
    (
        "look-up",
        r"^\W*(?:what(?:'s| is| are)|who(?:'s| is| was)|when (?:is|was|did)|where (?:is|was|are))\b"
        r"[^.\n\d=^*/]{0,50}$",
    ),
)
_FLAGS = re.IGNORECASE | re.DOTALL
HEAVY: Final = tuple((name, re.compile(pattern, _FLAGS)) for name, pattern in _HEAVY)
LIGHT: Final = tuple((name, re.compile(pattern, _FLAGS)) for name, pattern in _LIGHT)
_HAS_CODE = re.compile(
    r"```|\bdef \w+\(|\bfunction \w+\(|\bSELECT\b.{1,200}\bFROM\b|#include|\bclass \w+[:({]"
)
NO_TASK: Final = Task(name="", tier="")


def task_of(text: str) -> Task:
    """The task the text names, heavy before light; NO_TASK where no pattern is sure."""
    read = (
        text
        if len(text) <= 2 * _CHARACTERS_READ
        else text[:_CHARACTERS_READ] + "\n" + text[-_CHARACTERS_READ:]
    )
    for name, pattern in HEAVY:
        if pattern.search(read):
            return Task(name=name, tier="complex")
    if len(text) > 12 * LIGHT_WORK_WORDS or len(text.split()) > LIGHT_WORK_WORDS or _HAS_CODE.search(read):
        return NO_TASK
    for name, pattern in LIGHT:
        if pattern.search(read):
            return Task(name=name, tier="simple")
    return NO_TASK
