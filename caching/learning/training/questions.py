"""Generated questions of synthetic tenants: several phrasings of one question, and similar questions with other answers.

Invariant: written by us, so that weights trained on them may be shipped. The same seed gives the same questions. Two
questions have the same answer exactly if intent and slots are equal.
"""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"<(\w+)>")

# slot -> its values, the more popular ones first
SLOTS = {
    name: tuple(value.strip() for value in values.split(";"))
    for name, values in {
        "city": "Lyon; Porto; Graz; Leeds; Turin; Ghent; Malmo; Bergen; Split; Brno; Cork; Tartu; Vigo; Basel",
        "tool": "drill; sander; table saw; lathe; heat gun; router; laser cutter; kiln; band saw; 3D printer; welder",
        "product": (
            "ZX-100; ZX-200; Nimbus router; Nimbus camera; Atlas lamp; Atlas heater; Vento fan; Vento "
            "purifier; Orbit scale; Orbit watch; Pico speaker; Pico headset"
        ),
        "author": "Mira Holt; Jon Adeyemi; Sofia Brandt; Li Wen; Omar Haddad; Ines Costa; Paul Novak; Ruth Amsel",
        "topic": "astronomy; gardening; medieval history; chess; robotics; poetry; ceramics; botany; sailing; jazz",
        "year": "1998; 2003; 2007; 2011; 2015; 2018; 2020; 2022",
        "day": "Monday; Tuesday; Wednesday; Thursday; Friday; Saturday; Sunday",
        "amount": "50; 100; 150; 200; 250; 500; 750; 1000",
        "doctor": "Dr. Keller; Dr. Okafor; Dr. Lindqvist; Dr. Moreau; Dr. Tanaka; Dr. Silva; Dr. Rossi",
        "clinic": "cardiology; dermatology; pediatrics; radiology; orthopedics; neurology; oncology",
        "team": "Falcons; Harbor United; Red Oaks; Comets; Rovers; Granite; Lynx; Tides",
        "player": "Anders Vik; Tom Okoro; Luis Prado; Karl Heiss; Yuto Mori; Sam Doyle; Marek Zima",
        "department": "finance; marketing; engineering; legal; sales; procurement; support; research",
        "employee": "Nadia Petrov; Hugo Lang; Amara Diallo; Peter Quinn; Elsa Norin; Ravi Menon; Clara Weiss",
        "language": "Python; Go; Rust; Java; Kotlin; Ruby; Scala; Swift",
        "service": "billing-api; auth-worker; mail-relay; search-index; image-proxy; audit-log; job-queue",
        "status": "404; 429; 500; 502; 503; 504; 401; 403",
    }.items()
}


_OFTEN = {
    "ask": "[|please |can you |could you please |could you |]",
    "show": "[show me|list|give me|find|tell me|display|get|return|i want to see|i need|what are]",
    "hello": "[|hi, |hello, |ok, |]",
}

# One intent a line: the ways to ask it, between " / ".
INTENTS = tuple(
    tuple(way.strip() for way in line.format(**_OFTEN).split(" / "))
    for line in Path(__file__).with_name("intents.txt").read_text().splitlines()
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its answer's class, its intent, and the values of its slots."""

    text: str
    answer: str
    intent: int
    slots: tuple[str, ...]


def ask(intent: int, slots: dict[str, str], random_: random.Random) -> Question:
    """One way to ask an intent with given slots."""
    way = random_.choice(INTENTS[intent])
    while (choice := _CHOICE.search(way)) is not None:
        way = way[: choice.start()] + random_.choice(choice.group(1).split("|")) + way[choice.end() :]
    names = tuple(sorted({name for each in INTENTS[intent] for name in _SLOT.findall(each)}))
    text = " ".join(_SLOT.sub(lambda match: slots[match.group(1)], way).split())
    values = tuple(slots[name] for name in names)
    return Question(_dressed(text, random_), f"{intent}:{'|'.join(values)}", intent, values)


def fill(intent: int, random_: random.Random, *, breadth: int = 100) -> dict[str, str]:
    """Values for the slots of an intent; the first `breadth` values of each are drawn from, early ones more often."""
    filled: dict[str, str] = {}
    for name in sorted({name for way in INTENTS[intent] for name in _SLOT.findall(way)}):
        values = [value for value in SLOTS[name.rstrip("2")][:breadth] if value not in filled.values()]
        filled[name] = values[min(int(random_.expovariate(3 / len(values))), len(values) - 1)]
    return filled


def stream(size: int, *, seed: int, intents: Iterable[int] | None = None, breadth: int = 4) -> list[Question]:
    """Different questions in random order: what one tenant might ask over a while."""
    random_ = random.Random(seed)
    chosen = list(intents if intents is not None else range(len(INTENTS)))
    popularity = {intent: random_.paretovariate(1.2) for intent in chosen}
    found: dict[str, Question] = {}
    for _ in range(40 * size):
        if len(found) == size:
            break
        (intent,) = random_.choices(chosen, [popularity[each] for each in chosen])
        question = ask(intent, fill(intent, random_, breadth=breadth), random_)
        found.setdefault(question.text.lower(), question)
    return list(found.values())


def _dressed(text: str, random_: random.Random) -> str:
    """As people type: with a capital, a question mark, or neither."""
    if random_.random() < 0.5:
        text = text[0].upper() + text[1:]
    if random_.random() < 0.4:
        text += "?"
    return text
