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


@dataclass(frozen=True, slots=True)
class Kind:
    """How a task is recognised."""

    task: Task
    signs: tuple[str, ...]
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, tier: str, name: str, signs: str, pattern: str) -> "Kind":
        flags = re.IGNORECASE | re.DOTALL
        return cls(Task(name, tier), tuple(signs.split("|")), re.compile(pattern, flags))

    def is_named_in(self, text: str, *, folded: str) -> bool:
        return any(map(folded.__contains__, self.signs)) and self.pattern.search(text) is not None


# The name of a kind, what every text has some of that its pattern finds (a pattern costs more than to look for these), and
# the pattern.
_HEAVY: Final = (
    (
        "proof",
        "prove|proof|show",
        r"\b(?:prove|proof of|show) (?:that|by induction|rigorously|formally)\b|\b(?:dis)?prove\b",
    ),
    (
        "design",
        "design|architect|propose|plan",
        r"\b(?:design|architect|propose|plan)\b.{0,60}\b(?:system|architecture|schema|protocol|algorithm|pipeline|platform|"
        r"service|infrastructure|migration|experiment)\b",
    ),
    (
        "debugging",
        "debug|root cause|race condition|deadlock|memory leak|stack trace|traceback|segfault|why",
        r"\b(?:debug|root cause|race condition|deadlock|memory leak|stack trace|traceback|segfault)\b|"
        r"\bwhy (?:does|is|do)\b.{0,60}\b(?:fail|crash|hang|throw|leak)",
    ),
    (
        "code change",
        "refactor|rewrite|optimi|port|migrate|review",
        r"\b(?:refactor|rewrite|optimi[sz]e|port|migrate|review)\b.{0,60}\b(?:code|function|class|module|query)\b",
    ),
    (
        "legal or financial review",
        "contract|clause|liability|due diligence|balance sheet|valuation",
        r"\b(?:contract|clause|liability|due diligence|balance sheet|valuation)\b.{0,120}"
        r"\b(?:risks?|review|assess|analy[sz]e)\b|"
        r"\b(?:review|assess|analy[sz]e)\b.{0,120}\b(?:contract|clause|liability|balance sheet)\b",
    ),
    ("trade-off analysis", "trade|pros and cons", r"\btrade-?offs?\b|\bpros and cons\b.{0,200}\brecommend"),
)
_LIGHT: Final = (
    (
        "greeting",
        "hi|hello|hey|thank|good|ok|bye",
        r"^\W*(?:hi|hello|hey|thanks|thank you|good (?:morning|evening|afternoon)|ok(?:ay)?|bye)\b.{0,40}$",
    ),
    (
        "classification",
        "classify|categori|label|tag|sentiment",
        r"^.{0,40}\b(?:(?:classify|categori[sz]e|label|tag) (?:this|the|these|each)|sentiment of)\b",
    ),
    (
        "extraction",
        "extract|list",
        r"^.{0,40}\b(?:extract|"
        r"list (?:all|the|every) (?:names?|dates?|e-?mails?|numbers?|entities|keywords?))\b",
    ),
    ("translation", "translat", r"^.{0,40}\b(?:translate|translation of)\b"),
    (
        "correction",
        "fix|correct|check|proofread",
        r"^.{0,40}\b(?:(?:fix|correct|check)\b.{0,30}\b(?:grammar|spelling|typos?|punctuation)|proofread)\b",
    ),
    (
        "rewording",
        "rephrase|paraphrase|reword|shorten",
        r"^.{0,40}\b(?:rephrase|paraphrase|reword|shorten)\b",
    ),
    (
        "short summary",
        "summar|dr",
        r"^.{0,40}\b(?:summari[sz]e|tl;?dr|summary)\b.{0,60}\b(?:one|two|three|1|2|3|single|short|brief)\b",
    ),
    (
        "conversion",
        "convert|reformat",
        r"^.{0,40}\b(?:convert|reformat)\b.{0,60}\b(?:to|as|into)\b.{0,20}\b(?:json|csv|yaml|xml|markdown|html)\b",
    ),
    (
        "look-up",
        "what|who|when|where",
        r"^\W*(?:what(?:'s| is| are)|who(?:'s| is| was)|when (?:is|was|did)|where (?:is|was|are))\b"
        r"[^.\n\d=^*/]{0,50}$",
    ),
)
_HAS_CODE = re.compile(
    r"```|\bdef \w+\(|\bfunction \w+\(|\bSELECT\b.{1,200}\bFROM\b|#include|\bclass \w+[:({]"
)
_CODE_SIGNS: Final = ("```", "def ", "function ", "SELECT", "#include", "class ")
HEAVY: Final = tuple(Kind.of("complex", *kind) for kind in _HEAVY)
LIGHT: Final = tuple(Kind.of("simple", *kind) for kind in _LIGHT)
NO_TASK: Final = Task(name="", tier="")


def task_of(text: str) -> Task:
    """The task the text names, heavy before light; NO_TASK where no pattern is sure."""
    read = (
        text
        if len(text) <= 2 * _CHARACTERS_READ
        else text[:_CHARACTERS_READ] + "\n" + text[-_CHARACTERS_READ:]
    )
    folded = read.casefold()
    for kind in HEAVY:
        if kind.is_named_in(read, folded=folded):
            return kind.task
    if len(text) > 12 * LIGHT_WORK_WORDS or len(text.split()) > LIGHT_WORK_WORDS or _has_code(read):
        return NO_TASK
    for kind in LIGHT:
        if kind.is_named_in(read, folded=folded):
            return kind.task
    return NO_TASK


def _has_code(text: str) -> bool:
    return any(map(text.__contains__, _CODE_SIGNS)) and _HAS_CODE.search(text) is not None
