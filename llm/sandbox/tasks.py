"""Owns the sandbox's answers in prose: one function per kind of task it recognises in a question.

Invariant: the answer depends on the prompt alone.
"""

import ast
import hashlib
import operator
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

from llm.sandbox import banking
from llm.sandbox.prompt import Prompt
from llm.sandbox.schema_values import EMAIL, NUMBER, PROPER_NAME, mood_of

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
    with word words would write you your
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


def answer(prompt: Prompt) -> str:
    """The answer in prose to the prompt's question."""
    question = prompt.question.strip()
    if prompt.results:
        return (
            "Here is what I found: " + "; ".join(_shortened(result, 400) for result in prompt.results) + "."
        )
    for task in (
        _echo,
        _count_up,
        _memory,
        _arithmetic,
        _classify,
        _summarise,
        _translate,
        _extract,
        _code,
        _length,
    ):
        found = task(question, prompt)
        if found:
            return _within_system(found, prompt)
    if prompt.image_count:
        noun = "an image" if prompt.image_count == 1 else f"{prompt.image_count} images"
        return f"You sent {noun}. It shows a clear subject in front of a plain background."
    topic = banking.topic_of(question, system=prompt.system)
    if topic is not None:
        return _within_system(_styled(prompt, topic.answer, topic.detail), prompt)
    return _within_system(_generic(question, prompt), prompt)


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
    if (
        not match
        or not NUMBER.search(match[0])
        or re.fullmatch(r"\d{4}-\d{2}(-\d{2})?|[\d-]{7,}", match[0].strip())
    ):
        return None
    value = calculate(match[0])
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
    text = question.split(":", 1)[1] if ":" in question[:200] else question
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


def _code(question: str, prompt: Prompt) -> str | None:
    if not re.search(
        r"\b(code|function|script|program|python|javascript|sql|regex|class)\b", question, re.IGNORECASE
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


def _length(question: str, prompt: Prompt) -> str | None:
    match = re.search(r"\b(\d{2,5})[- ]words?\b", question, re.IGNORECASE)
    if match:
        return _filled(question, words=min(int(match[1]), LONGEST_WORDS))
    if re.search(
        r"\b(essay|story|article|in detail|detailed|long|blog post|report)\b", question, re.IGNORECASE
    ):
        return _filled(question, words=220)
    match = re.search(r"\b(?:list|give|name|suggest)\b.{0,20}?\b(\d{1,2})\b", question, re.IGNORECASE)
    if match:
        topics = keywords(question) or ["this"]
        return "\n".join(
            f"{index + 1}. {FILLER[index % len(FILLER)].format(topic=topics[index % len(topics)])}"
            for index in range(int(match[1]))
        )
    return None


def _generic(question: str, prompt: Prompt) -> str:
    words = keywords(question) or ["your question"]
    topic = " and ".join(words[:2])
    detail_count = min(6, 1 + len(question) // 120)
    start = _digest(question)
    details = " ".join(
        FILLER[(start + index) % len(FILLER)].format(topic=words[index % len(words)])[0].upper()
        + FILLER[(start + index) % len(FILLER)].format(topic=words[index % len(words)])[1:]
        for index in range(detail_count)
    )
    return _styled(
        prompt, f"The short answer on {topic}: it depends on a few things that are easy to check.", details
    )


def _styled(prompt: Prompt, short: str, detail: str) -> str:
    """Small models are brief, large ones explain; Claude speaks a little differently."""
    model = prompt.model.lower()
    is_claude = "claude" in model
    variants = (
        ("Happy to help. ", "Good question. ", "Let me help with that. ")
        if is_claude
        else ("", "Sure. ", "Of course. ")
    )
    opening = variants[(_digest(prompt.question) + prompt.variant) % len(variants)]
    if re.search(r"nano|haiku|3\.5|small|tiny", model):
        return f"{opening}{short}"
    text = f"{opening}{short} {detail}"
    if re.search(r"opus|sonnet|gpt-4\.1$|gpt-5|gpt-4o$|\bo\d", model):
        text += (
            " Is there anything else you would like to know about this?"
            if is_claude
            else (" Let me know if that does not solve it, and I will go through it with you step by step.")
        )
    return text


def _filled(question: str, *, words: int) -> str:
    topics = keywords(question, limit=6) or ["this subject"]
    out: list[str] = []
    index = _digest(question)
    while len(out) < words:
        sentence = FILLER[index % len(FILLER)].format(topic=topics[index % len(topics)])
        out.extend((sentence[0].upper() + sentence[1:]).split())
        index += 1
    return " ".join(out[:words]).rstrip(".,;:") + "."


def _within_system(text: str, prompt: Prompt) -> str:
    """Obey the two instructions about form that tests and users give most."""
    if re.search(r"\b(exactly )?one word\b|\bsingle word\b", prompt.system, re.IGNORECASE):
        return re.sub(r"[^\w'-]", "", text.split()[0])
    if re.search(r"\bone sentence\b", f"{prompt.system} {prompt.question}", re.IGNORECASE):
        return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    return text


def _wants_only_answer(question: str) -> bool:
    return bool(re.search(r"\b(only|just)\b.{0,30}\b(number|answer|result|digit)", question, re.IGNORECASE))


def _overlap(name: str, text: str) -> int:
    return sum(text.count(word) for word in re.findall(r"\w{3,}", name))


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).digest(), "big")
