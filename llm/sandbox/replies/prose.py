"""Owns the sandbox's answers in prose: exercises solved, a bank's customers helped, everything else taken up.

Invariant: the answer depends on the prompt alone.
"""

import re
from itertools import islice

from llm.sandbox.prompt import Prompt
from llm.sandbox.replies import banking, exercises

LONGEST_RESULT = 400
AMOUNT = re.compile(
    r"[£$€]\s?\d[\d.,]*|\b\d[\d.,]*\s?(?:EUR|USD|GBP|euros?|dollars?|pounds?)\b", re.IGNORECASE
)
BRIEF_MODELS = re.compile(r"nano|haiku|3\.5|small|tiny")
TALKATIVE_MODELS = re.compile(r"opus|sonnet|gpt-4\.1$|gpt-5|gpt-4o$|\bo\d")


def answer(prompt: Prompt) -> str:
    """The answer in prose to the prompt's question."""
    question = prompt.question.strip()
    if prompt.results:
        found = "; ".join(_shortened(result) for result in prompt.results)
        return f"Here is what I found: {found}."
    return _within_instructions(_answer(prompt, question), prompt)


def _answer(prompt: Prompt, question: str) -> str:
    solved = exercises.solved(prompt, question=question)
    if solved is not None:
        return solved
    if prompt.image_count:
        noun = "an image" if prompt.image_count == 1 else f"{prompt.image_count} images"
        return f"You sent {noun}. It shows a clear subject in front of a plain background."
    topic = banking.topic_of(question, system=prompt.system)
    if topic is not None:
        return _styled(prompt, topic.answer, topic.detail + _on_amount(question))
    guessed = exercises.guessed(prompt, question=question)
    return _general(question, prompt) if guessed is None else guessed


def _general(question: str, prompt: Prompt) -> str:
    topic = " and ".join(exercises.keywords(question, limit=2)) or "your question"
    count = min(6, 1 + len(question) // 120)
    details = " ".join(islice(exercises.sentences_about(question), count))
    return _styled(
        prompt, f"The short answer on {topic}: it depends on a few things that are easy to check.", details
    )


def _on_amount(question: str) -> str:
    match = AMOUNT.search(question)
    if match is None:
        return ""
    return f" You find the {match[0]} you mention under Payments, with their status and the reason for it."


def _styled(prompt: Prompt, short: str, detail: str) -> str:
    """Small models are brief, large ones explain; Claude speaks a little differently."""
    model = prompt.model.lower()
    is_claude = "claude" in model
    openings = (
        ("Happy to help. ", "Good question. ", "Let me help with that. ")
        if is_claude
        else ("", "Sure. ", "Of course. ")
    )
    opening = openings[(exercises.digest_of(prompt.question) + prompt.variant) % len(openings)]
    if BRIEF_MODELS.search(model):
        return f"{opening}{short}"
    closing = ""
    if TALKATIVE_MODELS.search(model):
        closing = (
            " Is there anything else you would like to know about this?"
            if is_claude
            else " Let me know if that does not solve it, and I will go through it with you step by step."
        )
    return f"{opening}{short} {detail}{closing}"


def _within_instructions(text: str, prompt: Prompt) -> str:
    """Obey the two instructions about form that tests and users give most."""
    if re.search(r"\b(one|single) word\b", prompt.system, re.IGNORECASE):
        return re.sub(r"[^\w'-]", "", text.split()[0])
    if re.search(r"\bone sentence\b", f"{prompt.system} {prompt.question}", re.IGNORECASE):
        return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    return text


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_RESULT else text[: LONGEST_RESULT - 1] + "…"
