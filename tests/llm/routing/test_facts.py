"""What routing reads from a body of either API."""

from llm.routing.facts import read_route_facts


def ask_of(*messages):
    return read_route_facts({"model": "auto", "messages": list(messages)}).ask


def user(content):
    return {"role": "user", "content": content}


def test_it_works():
    facts = read_route_facts(
        {
            "model": "auto:complex",
            "max_tokens": 100,
            "n": 2,
            "tools": [{"name": "x"}],
            "messages": [
                {"role": "system", "content": "Be kind."},
                user("Why is the sky blue in the morning?"),
            ],
        },
        declared_tier="simple",
    )
    assert facts.is_automatic
    assert facts.declared_tier == "complex"
    assert facts.ask == "Why is the sky blue in the morning?"
    assert (facts.max_output_tokens, facts.answers, facts.needs) == (100, 2, frozenset({"tools"}))


def test_the_last_ask_counts_and_not_the_examples_before_it():
    assert ask_of(user("one " * 10), {"role": "assistant", "content": "x"}, user("two " * 10)).startswith(
        "two"
    )


def test_a_short_follow_up_is_read_with_the_ask_before_it():
    assert ask_of(user("Prove it for 2."), {"role": "assistant", "content": "x"}, user("And for 3?")) == (
        "Prove it for 2.\nAnd for 3?"
    )


def test_what_a_harness_wraps_around_the_ask_is_not_read():
    text = "<system-reminder>Prove everything.</system-reminder>\nWhat time is it in Rome now?"
    assert ask_of(user([{"type": "text", "text": text}])) == "What time is it in Rome now?"


def test_a_turn_of_tool_results_continues_the_ask_before_it():
    result = {"type": "tool_result", "tool_use_id": "t", "content": "42"}
    assert (
        ask_of(user("How many orders are open today?"), user([result])) == "How many orders are open today?"
    )


def test_an_image_inside_a_tool_result_needs_vision():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    body = {
        "model": "auto",
        "messages": [user([{"type": "tool_result", "tool_use_id": "t", "content": [image]}])],
    }
    assert read_route_facts(body).needs == frozenset({"vision"})


def test_a_responses_body_is_read_too():
    body = {
        "model": "auto",
        "input": "Why is the sky blue today?",
        "max_output_tokens": 50,
        "text": {"format": {"type": "json_schema", "schema": {}}},
    }
    facts = read_route_facts(body)
    assert (facts.ask, facts.max_output_tokens) == ("Why is the sky blue today?", 50)
    assert facts.needs == frozenset({"json_schema"})


def test_a_body_it_cannot_read_has_no_ask():
    for turns in (None, "x", [], [None], [{"role": "user"}], [user(None)], [user([None, 1])]):
        assert read_route_facts({"model": "auto", "messages": turns}).ask == ""


def test_a_model_that_only_begins_like_auto_is_a_name():
    assert not read_route_facts({"model": "automatic-1"}).is_automatic
