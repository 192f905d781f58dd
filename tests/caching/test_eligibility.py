"""Which questions may be answered by what was said to another one."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.eligibility import MAX_TEMPERATURE, Traits, check_eligibility
from tenants.policy import TextRule

ELIGIBLE = [
    "My card has not arrived, what do I do?",
    "What are the steps that I need to take to activate a new card?",
    "How do I cancel a transfer?",
    "Can I track when my card will be delivered?",
    "How long does a transfer take?",
    "Is there a limit to how much I can top-up?",
    "Why was my card payment declined?",
    "Show me all rivers in Texas",
    "Explain the difference between a list and a tuple in Python.",
    "How do I know what the exchange rate will be when I make an exchange.",
    "What should I do if my card was stolen?",
    "How do I return an item?",
    "Write a function that removes duplicates from a list",
]
NOT_ELIGIBLE = [
    ("What is the weather in Berlin?", "time_sensitive"),
    ("Who is the president today?", "time_sensitive"),
    ("What is the latest version of Python?", "time_sensitive"),
    ("What is the current price of gold?", "time_sensitive"),
    ("Which shops are open right now?", "time_sensitive"),
    ("What time is it in Tokyo?", "time_sensitive"),
    ("What is my account balance?", "personal"),
    ("Show me my last transactions", "personal"),
    ("How much do I owe?", "personal"),
    ("Where is my order?", "personal"),
    ("Cancel my subscription", "action"),
    ("Please block my card, I lost it", "action"),
    ("Can you transfer the money back to me?", "action"),
    ("Transfer 50 EUR to Bob", "action"),
    ("My bag was stolen. Freeze my account please", "action"),
    ("I want you to delete my data", "action"),
    ("Pick a random number between 1 and 10", "wants_variety"),
    ("Create a strong password for me please", "wants_variety"),
    ("Wie kann ich meine Karte aktivieren?", "language"),
    ("Comment est-ce que je peux activer ma carte pour le voyage ?", "language"),
    ("如何激活我的新卡？请告诉我步骤 please", "language"),
    ("ok", "too_short"),
    ("", "too_short"),
]  # fmt: skip


def test_it_works() -> None:
    verdict = check_eligibility("How do I reset my PIN?")
    assert verdict.is_eligible
    assert verdict.reason == ""


@pytest.mark.parametrize("text", ELIGIBLE)
def test_a_question_with_one_answer_for_everybody_is_eligible(text: str) -> None:
    assert check_eligibility(text).reason == ""


@pytest.mark.parametrize(("text", "reason"), NOT_ELIGIBLE)
def test_a_question_whose_answer_depends_on_more_than_its_words_is_not(text: str, reason: str) -> None:
    assert check_eligibility(text).reason == reason


@pytest.mark.parametrize(
    ("traits", "reason"),
    [
        (Traits(has_tools=True), "tools"),
        (Traits(has_images=True), "images"),
        (Traits(has_audio=True), "audio"),
        (Traits(n=2), "several_answers"),
        (Traits(temperature=MAX_TEMPERATURE + 0.1), "sampled"),
        (Traits(temperature=MAX_TEMPERATURE), ""),
        (Traits(temperature=0), ""),
    ],
)
def test_the_request_itself_may_speak_against_it(traits: Traits, reason: str) -> None:
    assert check_eligibility("How do I reset my PIN?", traits=traits).reason == reason


@pytest.mark.parametrize(("text", "reason"), [each for each in NOT_ELIGIBLE if each[0]])
def test_a_tenant_may_waive_a_rule_and_no_other(text: str, reason: str) -> None:
    assert check_eligibility(text, waived=[reason]).reason != reason
    others = [other for other in get_args(TextRule) if other != reason]
    assert check_eligibility(text, waived=others).reason == reason


def test_every_rule_of_a_text_may_be_waived_and_none_of_the_request() -> None:
    assert {reason for _, reason in NOT_ELIGIBLE} == set(get_args(TextRule))
    everything = get_args(TextRule)
    assert check_eligibility("Wie ist heute mein Kontostand?", waived=everything).is_eligible
    assert check_eligibility("ok", waived=everything, traits=Traits(has_tools=True)).reason == "tools"


@given(st.text(max_size=500))
def test_any_text_gets_a_verdict(text: str) -> None:
    verdict = check_eligibility(text)
    assert verdict.is_eligible == (verdict.reason == "")
