"""Decides, before anything is embedded, whether a question may get the answer of another question.

Invariant: pure. One rule that applies makes a question ineligible, and the reason is named.
The rules look for what the answer depends on: the moment (news, weather, "now"), the asker's own records ("my
balance"), or an action that must happen each time ("cancel my order"). A question about how something works ("how
do I cancel an order?", "my card has not arrived, what do I do?") has the same answer for all users and stays
eligible. A question that refers to earlier turns needs no rule: those turns are part of the scope, byte for byte.
A tenant's policy may waive the rules that read a text.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass

from tenants.policy import TextRule

# Sampled answers are meant to differ: a request with a temperature above this gets a new answer each time, unless the
# tenant's policy allows a higher one. A request without a temperature has not asked for variety.
MAX_TEMPERATURE = 0.0
LEAST_CHARACTERS = 8
LONGEST_CHARACTERS = 16_384  # no embedder reads a longer text whole, so the rules skip it too


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the rules need to know about a request besides its text."""

    temperature: float | None = None
    max_temperature: float = MAX_TEMPERATURE
    n: int = 1
    has_tools: bool = False
    has_images: bool = False
    has_audio: bool = False


@dataclass(frozen=True, slots=True)
class Eligibility:
    """Whether the semantic cache may be used. If not, `reason` is a stable word for the receipt and metrics."""

    is_eligible: bool
    reason: str = ""


ELIGIBLE = Eligibility(True)


def check_eligibility(text: str, *, traits: Traits = Traits(), waived: Container[str] = ()) -> Eligibility:
    """Apply the rules, except the text rules that the tenant's policy waives (`TextRule`). About 20 us.

    Whether the embedder reads the whole text is checked later, by its `truncates`.
    """
    if len(text) > LONGEST_CHARACTERS:
        return Eligibility(False, "too_long")
    for reason, applies in (
        ("tools", traits.has_tools),
        ("images", traits.has_images),
        ("audio", traits.has_audio),
        ("several_answers", traits.n > 1),
        ("sampled", traits.temperature is not None and traits.temperature > traits.max_temperature),
    ):
        if applies:
            return Eligibility(False, reason)
    text = " ".join(text.split())
    lowered = text.lower().replace("’", "'")
    for reason, applies_to in _TEXT_RULES:
        if reason not in waived and applies_to(lowered):
            return Eligibility(False, reason)
    return ELIGIBLE


def _is_too_short(text: str) -> bool:
    return len(text) < LEAST_CHARACTERS or " " not in text


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


_TIME_SENSITIVE = _any(
    r"\b(?:today|tonight|tomorrow|yesterday|right now|at the moment|as of now|currently|nowadays|"
    r"these days)\b",
    r"\b(?:this|last|next|past|coming) (?:minute|hour|morning|afternoon|evening|week|weekend|month|"
    r"quarter|year|monday|"
    r"tuesday|wednesday|thursday|friday|saturday|sunday)\b",
    r"\b(?:latest|newest|most recent|up[- ]to[- ]date|breaking|live) "
    r"(?:news|version|price|score|result|rate|update|release|status|data|number|figure)s?\b",
    r"\b(?:current|present|actual|today's|real[- ]time|live) (?:\w+ )?(?:price|rate|time|date|"
    r"weather|temperature|score|"
    r"status|value|balance|president|version|stock|exchange|ceo|situation)s?\b",
    r"\b(?:weather|forecast|stock price|share price|news)\b",
    r"\bwhat (?:time|day|date|year) is it\b|\bwhat(?:'s| is) the (?:time|date)\b|\bhow (?:late|"
    r"long ago)\b",
    r"\bsince (?:yesterday|this morning|last)\b|\b(?:just|minutes|hours) ago\b",
    r"(?:^|[.!?,;] )(?:now|and now)\b|\bnow[?!. ]*$",
)
_PERSONAL = _any(
    # Questions for a value in the asker's own records, but not questions about what to do with it.
    r"\b(?:what(?:'s| is| are| was| were)|show(?: me)?|tell me|give me|check|list|display|see|"
    r"how (?:much|many|high) (?:is|are|was))"
    r" (?:me )?(?:all )?(?:my|our) (?:\w+ ){0,2}(?:balance|limit|iban|pin|password|account number|"
    r"statement|invoice|bill|"
    r"transactions?|payments?|orders?|booking|reservation|schedule|appointment|calendar|salary|"
    r"score|usage|"
    r"subscription|plan|address|e-?mails?|messages?|files?|data|name|age|status|points|tickets?)\b",
    r"\bhow much (?:money )?(?:do|did|have) (?:i|we) (?:have|owe|spend|spent|pay|paid|earn|earned|"
    r"left)\b",
    r"\bwhat(?:'s| is) my\b(?! best| next| option)",
    r"\bwho am i\b|\bdo you (?:know|remember) (?:me|my|who i)\b|^remember\b",
    r"\bwhere (?:is|are) my (?:order|parcel|package|delivery|shipment|refund)\b",
)
_WANTS_VARIETY = _any(
    r"\b(?:surprise me|another one|a different one|flip a coin|roll (?:a|the) dice?)\b",
    r"\b(?:pick|choose|select|draw|give|tell|suggest|name|generate|create|"
    r"write)\b[^.?!]{0,30}\brandom(?:ly)?\b",
    r"\b(?:generate|create|make up|invent) (?:me )?(?:a|an|some|\d+) (?:unique|new|fresh|random|"
    r"strong|secure) (?!account|user|file|table|repo)\b",
)

_ACTS = (
    "cancel|transfer|send|pay|refund|book|order|buy|sell|delete|remove|close|open|block|unblock|freeze|unfreeze|activate|"
    "deactivate|change|update|reset|reserve|schedule|reschedule|subscribe|unsubscribe|sign|register|enroll|withdraw|deposit|"
    "top|renew|upgrade|downgrade|approve|reject|submit|issue|replace|reorder|report|dispute|stop|start|add|set|switch|turn|"
    "call|email|text|message|notify|remind|charge|redeem|ship|track|lock|unlock|disable|enable"
)
_COMMAND = re.compile(
    rf"(?:^|[.!?;:] |, (?:so |then |and )?)(?:please |kindly |just |hi |hello |hey |ok )*(?:{_ACTS})\b"
    r"(?: \w+){0,3}? (?:my|our|me|us|this|that|it|the|an?|[$€£]?\d+)\b"
)
_REQUEST = re.compile(
    rf"(?<!how )(?<!why )(?<!when )(?<!where )\b(?:can|could|would|will) you (?:please |kindly |"
    rf"just )?(?:{_ACTS})\b"
    rf"|\bi(?:'d| would)? (?:want|need|like) you to (?:{_ACTS})\b"
    rf"|\bplease (?:{_ACTS})\b|\b(?:{_ACTS})\b[^.?!]{{0,60}}\bfor me\b"
)
_HOW = re.compile(
    r"\b(?:how|why|what|when|where|which|who|whether|can i|could i|may i|is it|is there|do i|should i|am i)\b"
)


def _asks_for_an_act(text: str) -> bool:
    """A command or a request to do something. A question of how or whether it can be done does not count."""
    if _REQUEST.search(text):
        return True
    command = _COMMAND.search(text)
    return command is not None and not _HOW.search(text, 0, command.start() + 1)


_split = str.split
_ENGLISH = frozenset(
    _split(
        "the a an is are was were be do does did to of in on at for from with by and or not what who how "
        "when where why which "
        "can could will would should i you he she it we they my your his her its our their this that these "
        "those there have has "
        "had me us them if than as about all any some no yes please list show give find get make need want "
        "explain tell "
        "describe write translate summarize compare name define into out up new use after before"
    )
)
# Words that English does not have and the next most common languages cannot do without.
_FOREIGN = frozenset(
    _split(
        "der das und nicht ist ich wie wird mein meine kann auf für mit ein eine einen le les des est je "
        "que qui une pas mon "
        "dans pour comment qué cómo mi por para una como está il che gli della sono una non mio meu não "
        "uma são de "
        "het een van niet mijn hoe ik wat kan och jag är inte hur"
    )
)


def _is_english_enough(text: str) -> bool:
    """A rough filter, not a language detector. The embedder knows English; in other languages near vectors mean nothing."""
    letters = [character for character in text if character.isalpha()]
    if not letters or sum(character.isascii() for character in letters) < 0.9 * len(letters):
        return False
    words = re.findall(r"[^\W\d_]+", text.lower())
    english = sum(word in _ENGLISH for word in words)
    foreign = sum(word in _FOREIGN for word in words)
    return foreign == 0 or english > foreign


# In this order: the first rule that applies is the reason. The names are those of a policy's `TextRule`.
_TEXT_RULES: tuple[tuple[TextRule, Callable[[str], object]], ...] = (
    ("too_short", _is_too_short),
    ("language", lambda text: not _is_english_enough(text)),
    ("time_sensitive", _TIME_SENSITIVE.search),
    ("personal", _PERSONAL.search),
    ("wants_variety", _WANTS_VARIETY.search),
    ("action", _asks_for_an_act),
)
