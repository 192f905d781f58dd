"""The kinds of work that a text names."""

import random

from llm.routing.task_patterns import HEAVY, LIGHT, task_of

WORDS = (
    *{sign for kind in (*HEAVY, *LIGHT) for sign in kind.signs},
    *(
        "that",
        "this",
        "all",
        "names",
        "grammar",
        "to",
        "json",
        "system",
        "fail",
        "code",
        "risk",
        "offs",
        "of",
    ),
    *("does", "is", "two", "ize", "ise", "y", "tl;dr", "card", "please", "the"),
)


def test_it_works() -> None:
    assert task_of("Prove that the square root of two is irrational.").name == "proof"
    assert task_of("Translate this into French.").name == "translation"
    assert not task_of("My card does not work abroad and I wonder about it.").name


def test_a_text_without_a_kind_s_signs_is_not_of_that_kind() -> None:
    """The signs spare the pattern; they decide nothing."""
    draw = random.Random(11)
    found = 0
    for _ in range(4_000):
        text = draw.choice((" ", "")).join(draw.choices(WORDS, k=draw.randint(1, 6)))
        for kind in (*HEAVY, *LIGHT):
            is_found = kind.pattern.search(text) is not None
            assert kind.is_named_in(text, folded=text.casefold()) == is_found, text
            found += is_found
    assert found > 100
