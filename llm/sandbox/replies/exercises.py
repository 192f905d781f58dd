"""Owns the exercises people give a model to see whether it works: counting, arithmetic, summaries, code.

Invariant: an exercise answers only a question it recognises, and its answer depends on the prompt alone.
"""

import ast
import hashlib
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction

import orjson

from llm.sandbox.prompt import Prompt
from llm.sandbox.replies import banking
from llm.sandbox.replies.schema_values import EMAIL, NUMBER, PROPER_NAME, mood_of

LONGEST_SEARCHED = 4_000  # some of the expressions take quadratic time
LONGEST_WORDS = 20_000
STOP_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
    a about above after again all also am an and any are as at be because been before being but by
    can could did do does doing don down during each explain few for from further get had has have
    having he her here hers him his how i if in into is it its just know like make many may me might
    more most much my no nor not now of off on once only or other our out over own please same she
    should show so some such tell than that the their them then there these they this those through
    to too under until up us very want was we were what when where which while who whom why will
    with word words would write you your list give tell suggest generate
    """,
    )
)
OPERATORS: dict[type[ast.AST], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
ARITHMETIC = re.compile(r"(?<![\w.])[(\d-][\d\s.,+*/×x÷()^-]*[+*/×x÷^-][\d\s.,+*/×x÷()^-]*[\d)]")
WORD_OPERATORS = (
    (r"\s+(plus|added to)\s+", "+"),
    (r"\s+minus\s+", "-"),
    (r"\s+(times|multiplied by)\s+", "*"),
    (r"\s+divided by\s+", "/"),
)
ASKS_FOR_VALUE = re.compile(
    r"\b(what('s| is)|calculate|compute|evaluate|solve|how much is|sum of|result)\b|=", re.IGNORECASE
)
SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
FILLER = (
    "{topic} is best understood step by step.",
    "Start with what you already know about {topic} and note what is still open.",
    "In practice, {topic} depends on its context: who needs it, by when, and at what cost.",
    "A small example makes {topic} clearer than a long definition.",
    "Compare two options for {topic} side by side before you decide.",
    "Most mistakes with {topic} come from skipping the first check.",
    "Keep a record of what you tried, so that the next question about {topic} is answered faster.",
    "When the result for {topic} matters, have a second person look at it.",
)
USUAL_WORDS = 220


def solved(prompt: Prompt, *, question: str) -> str | None:
    """The answer to an exercise that no customer's question is mistaken for; None when it is none."""
    return _first(CLEAR, prompt, question)


def guessed(prompt: Prompt, *, question: str) -> str | None:
    """The answer to an exercise that is recognised by a word or two; None when there is none."""
    return _first(LIKELY, prompt, question)


def keywords(text: str, *, limit: int = 4) -> list[str]:
    """The words a text is about, most frequent first, in order of appearance among equals."""
    words = re.findall(r"[^\W\d_][\w'-]{2,}", text.lower())
    counts = Counter(word for word in words if word not in STOP_WORDS)
    return [word for word, _ in counts.most_common(limit)]


def calculate(expression: str) -> str | None:
    """The exact value of an arithmetic expression; None when it is not one."""
    text = (
        expression.replace("×", "*").replace("x", "*").replace("÷", "/").replace("^", "**").replace(",", "")
    )
    if len(text) > 200:
        return None
    try:
        value = _evaluate(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return None
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.6f}".rstrip("0").rstrip(".")


def filled(question: str, *, words: int) -> str:
    """So many words about the question's topics."""
    out: list[str] = []
    sentences = sentences_about(question)
    while len(out) < words:
        out.extend(next(sentences).split())
    return " ".join(out[:words]).rstrip(".,;:") + "."


def sentences_about(question: str) -> Iterator[str]:
    """Sentences without end about the question's topics."""
    topics = keywords(question, limit=6) or ["this subject"]
    index = digest_of(question)
    while True:
        sentence = FILLER[index % len(FILLER)].format(topic=topics[index % len(topics)])
        yield sentence[0].upper() + sentence[1:]
        index += 1


def digest_of(text: str) -> int:
    """A number that depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).digest(), "big")


def _echo(question: str, prompt: Prompt) -> str | None:
    match = re.match(
        r"(?:please\s+)?(?:reply|respond|answer|repeat|echo|output|return)\b(?:[\w "
        r"]{0,24}?\b(?:exactly|after me|only|just))?"
        r"(?:\s+(?:with|the "
        r"(?:word|text|phrase)))*(?:\s+(?:exactly|only|just))?\s*:\s*[\"'“]?(.{1,4000}?)[\"'”]?\s*$",
        question,
        re.IGNORECASE | re.DOTALL,
    )
    if match:
        return match[1]
    match = re.match(r"(?:please\s+)?say\s+[\"'“](.+?)[\"'”]\.?$", question, re.IGNORECASE | re.DOTALL)
    if match:
        return match[1]
    if re.match(r"say\b.*\bhello\b.*\b3 words\b", question, re.IGNORECASE):
        return "Hello to you!"
    if re.match(r"say one word", question, re.IGNORECASE):
        return "Certainly."
    if re.match(r"(?:say\s+)?(hello|hi|hey|good (?:morning|evening))\b[^?]{0,12}$", question, re.IGNORECASE):
        return "Hello! How can I help you?"
    return "pong" if question.lower().strip(".!? ") == "ping" else None


def _compare(question: str, prompt: Prompt) -> str | None:
    if "SAME or DIFFERENT" not in prompt.system:
        return None
    try:
        quoted = orjson.loads(prompt.question)
        first, second = (set(keywords(quoted[name], limit=200)) for name in ("first", "second"))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
    return "SAME" if 3 * len(first & second) >= 2 * len(first | second) else "DIFFERENT"


def _count_up(question: str, prompt: Prompt) -> str | None:
    match = re.search(r"\bcount\b.{0,20}?(?:from\s+(\d+)\s+)?(?:up\s+)?to\s+(\d+)", question, re.IGNORECASE)
    if not match:
        return None
    first, last = int(match[1] or 1), int(match[2])
    return ", ".join(map(str, range(first, min(last, first + LONGEST_WORDS) + 1)))


def _memory(question: str, prompt: Prompt) -> str | None:
    if not re.search(r"\b(my name|who am i)\b", question, re.IGNORECASE) or "?" not in question:
        return None
    for turn in reversed(prompt.turns):
        match = re.search(r"\b(?i:my name is|i am|i'm)\s+([A-Z][\w'-]+)", turn.text)
        if match and turn.role == "user":
            return match[1] if re.search(r"\b(just|only)\b", question) else f"Your name is {match[1]}."
    return None


def _arithmetic(question: str, prompt: Prompt) -> str | None:
    text = question
    for words, sign in WORD_OPERATORS:
        text = re.sub(words, sign, text, flags=re.IGNORECASE)
    text = re.sub(r"(\d)\s*%\s*of\s*(\d)", r"\1/100*\2", text, flags=re.IGNORECASE)
    match = ARITHMETIC.search(text)
    if match is None:
        return None
    is_asked = ASKS_FOR_VALUE.search(question) or len(match[0]) > len(question) // 2
    value = calculate(match[0]) if is_asked else None
    if value is None:
        return None
    return value if _wants_only_answer(question) else f"{match[0].strip()} = {value}."


def _classify(question: str, prompt: Prompt) -> str | None:
    if not re.search(
        r"\b(classify|categori[sz]e|sentiment|label|intent)\b", f"{prompt.system} {question}", re.IGNORECASE
    ):
        return None
    if re.search(r"\bsentiment\b", f"{prompt.system} {question}", re.IGNORECASE):
        return mood_of(question)
    options = re.search(
        r"(?:one of|into|as|labels?|categories)\s*:?\s*\[?([\w\s,'\"/-]+?)\]?(?:[.:\n]|$)", question, re.I
    )
    if options:
        names = [name.strip(" '\"\n") for name in re.split(r",|\bor\b|\band\b|/", options[1]) if name.strip()]
        rest = question.replace(options[0], " ").lower()
        if names:
            return max(names, key=lambda name: (_overlap(name.lower(), rest), -names.index(name)))
    topic = banking.topic_of(question, system=prompt.system)
    return topic.name if topic else " ".join(keywords(question, limit=2)) or "other"


def _summarise(question: str, prompt: Prompt) -> str | None:
    if not re.search(r"\b(summari[sz]e|summary|tl;?dr|key points|condense)\b", question[:400], re.IGNORECASE):
        return None
    whole = prompt.question
    text = whole.split(":", 1)[1] if ":" in whole[:200] else whole
    sentences = [part.strip() for part in SENTENCE.findall(text) if len(part.split()) > 3]
    if len(sentences) < 2:
        return None
    words = set(keywords(text, limit=12))
    ranked = sorted(
        sentences, key=lambda part: -len(words & set(part.lower().split())) / (8 + len(part.split()))
    )
    count = max(1, min(4, len(sentences) // 3))
    chosen = sorted(ranked[:count], key=sentences.index)
    return "In short: " + " ".join(part if part[-1] in ".!?" else f"{part}." for part in chosen)


def _translate(question: str, prompt: Prompt) -> str | None:
    match = re.search(
        r"\btranslate\b.{0,60}?\b(?:in)?to ([A-Z][a-z]+)\b", question, re.IGNORECASE | re.DOTALL
    )
    if not match:
        return None
    text = (
        question.split(":", 1)[1].strip()
        if ":" in question
        else question[match.end() :].strip(" :\"'") or question
    )
    return f"[{match[1].capitalize()}] {text}"


def _extract(question: str, prompt: Prompt) -> str | None:
    if not re.match(
        r"(please\s+)?(extract|list|find) (all )?(the )?(names|numbers|e-?mails?|dates|entities|keywords)",
        question,
        re.I,
    ):
        return None
    text = question.split(":", 1)[1] if ":" in question else question
    if re.search(r"e-?mail", question[:60], re.IGNORECASE):
        found = EMAIL.findall(text)
    elif re.search(r"number", question[:60], re.IGNORECASE):
        found = NUMBER.findall(text)
    elif re.search(r"keyword", question[:60], re.IGNORECASE):
        found = keywords(text, limit=8)
    else:
        found = list(dict.fromkeys(PROPER_NAME.findall(text)))
    return "\n".join(f"- {item}" for item in found) or "None found."


def _length(question: str, prompt: Prompt) -> str | None:
    match = re.search(r"\b(\d{2,5})[- ]words?\b", question, re.IGNORECASE)
    if match:
        return filled(question, words=min(int(match[1]), LONGEST_WORDS))
    if re.search(r"\b(essay|story|article|in detail|blog post|poem|novel|speech)\b", question, re.IGNORECASE):
        return filled(question, words=USUAL_WORDS)
    return None


def _code(question: str, prompt: Prompt) -> str | None:
    if not re.search(
        r"\b(function|script|program|python|javascript|typescript|sql|regex|code)\b", question, re.IGNORECASE
    ):
        return None
    if not re.search(
        r"\b(write|implement|create|generate|give|show|fix|refactor)\b", question, re.IGNORECASE
    ):
        return None
    words = [
        word
        for word in keywords(question, limit=6)
        if word not in ("python", "javascript", "function", "code", "sql")
    ]
    name = re.sub(r"\W", "_", "_".join(words[:3])) or "solve"
    if re.search(r"\bsql\b", question, re.IGNORECASE):
        return f"```sql\nSELECT *\nFROM {words[-1] if words else 'items'}\nORDER BY id;\n```"
    if re.search(r"\b(javascript|typescript|js)\b", question, re.IGNORECASE):
        return f"```javascript\nfunction {name}(items) {{\n  return items.filter(Boolean);\n}}\n```"
    return (
        f'```python\ndef {name}(items):\n    """{question.rstrip(".").splitlines()[0][:80]}."""\n'
        "    return [item for item in items if item]\n```\n"
        "It takes a list and returns a new one; the input is not changed."
    )


def _list(question: str, prompt: Prompt) -> str | None:
    match = re.search(
        r"\b(?:list|give(?: me)?|name|suggest|write)\b.{0,12}?\b(\d{1,2}) (?!words?\b|%)[a-z]{4,}",
        question,
        re.IGNORECASE,
    )
    if not match:
        return None
    sentences = sentences_about(question)
    return "\n".join(f"{index + 1}. {next(sentences)}" for index in range(int(match[1])))


def _evaluate(node: ast.AST) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.Pow):
            if right.denominator != 1 or not 0 <= right <= 64 or abs(left) > 10**6:
                raise ValueError("exponent out of range")
            return left ** int(right)
        if type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](left, right)
    raise ValueError("not arithmetic")


def _wants_only_answer(question: str) -> bool:
    return bool(re.search(r"\b(only|just)\b.{0,30}\b(number|answer|result|digit)", question, re.IGNORECASE))


def _overlap(name: str, text: str) -> int:
    return sum(text.count(word) for word in re.findall(r"\w{3,}", name))


Exercise = Callable[[str, Prompt], str | None]
CLEAR: tuple[Exercise, ...] = (
    _compare,
    _echo,
    _count_up,
    _memory,
    _classify,
    _summarise,
    _translate,
    _extract,
    _length,
    _arithmetic,
)
LIKELY: tuple[Exercise, ...] = (_code, _list)


def _first(exercises: tuple[Exercise, ...], prompt: Prompt, question: str) -> str | None:
    searched = question[:LONGEST_SEARCHED]
    return next(filter(None, (exercise(searched, prompt) for exercise in exercises)), None)
