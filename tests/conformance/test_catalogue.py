"""Every behaviour of other servers, through every endpoint that can reach it: the answer, the ledger and the receipt.

The suite takes one way for each behaviour, `CATALOGUE=all` (`make conformance`) takes them all. A behaviour that is not got
right yet stands in `NOT_YET` with a reason; one that is got right again must be taken out.
"""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Callable

import pytest

from llm.sandbox.behaviours import behaviours
from tests.books import Books
from tests.conformance.catalogue import Outcome, ask_all, cases_of, configuration_of, fill_in
from tests.stack import Stack
from tests.world import Member

IS_SHORT = os.environ.get("CATALOGUE") != "all"
_WHY_NOT_YET = {
    "errors and ends are not all heard": """
    done_and_nothing_else error_200_among_nulls error_200_as_base_resp error_200_as_detail
    error_200_as_object error_200_as_success_false error_200_as_text error_200_with_a_code
    error_after_comments error_event_by_name error_event_in_the_middle error_in_the_choice
    error_object_first error_object_in_the_middle html_200 message_empty_200 message_error_200
    message_error_200_as_text message_error_after_pings message_html_200 no_message_stop
    response_error_200 response_failed response_failed_with_usage response_html_200 stream_of_nothing
    text_200 text_in_a_stream
""",
    "shapes and bytes are not all put together": """
    arguments_as_object bad_utf8 both_tools_in_a_chunk byte_order_mark content_in_parts
    content_in_text_parts content_is_text content_text_then_parts emoji_over_two_events empty_first_chunk
    figures_with_exponent index_is_null input_at_the_start input_at_the_start_and_empty interleaved_tools
    json_for_a_stream json_tools_for_a_stream lone_surrogate message_byte_order_mark
    message_json_for_a_stream message_lone_surrogate message_not_a_number message_stream_as_json
    message_stream_for_whole no_index_pieces no_index_tools not_a_number reasoning_in_reasoning
    reasoning_with_details response_json_for_a_stream response_lone_surrogate response_not_a_number
    response_stream_as_json response_stream_for_whole same_index_and_stop same_index_pieces
    same_index_tools stream_as_json stream_for_whole surrogate_in_arguments tools_and_no_finish
    tools_and_stop two_tools_at_once
""",
}
NOT_YET = {name: why for why, names in _WHY_NOT_YET.items() for name in names.split()}


@pytest.fixture(scope="module")
def problems() -> dict[str, list[str]]:
    return {}


@pytest.fixture
def found(
    problems: dict[str, list[str]], stack: Stack, make_tenant: Callable[..., Member], books: Books
) -> dict[str, list[str]]:
    """What is wrong, by the behaviour's name; all are asked for once."""
    if problems:
        return problems
    problems["asked"] = []  # once, even where it fails
    from llm.configuration import apply_configuration

    member = make_tenant("conformance", policy={"cache": {"exact": True, "semantic": "off"}})
    cases = cases_of(behaviours().values(), is_short=IS_SHORT)
    document = configuration_of(cases, stack.sandbox_url)
    apply_configuration(json.dumps(document), source="catalogue.yaml", environ={}, dry_run=False)
    outcomes: list[Outcome] = asyncio.run(ask_all(cases, base_url=stack.base_url, member=member))
    fill_in(outcomes, books, member)
    by_name = defaultdict(list)
    for outcome in outcomes:
        by_name[outcome.case.behaviour.name] += outcome.problems()
    problems.update(by_name)
    return problems


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=NOT_YET[name], strict=not IS_SHORT))
        if name in NOT_YET
        else name
        for name in behaviours()
    ],
)
def test_it_is_got_right(found: dict[str, list[str]], name: str) -> None:
    if found[name]:
        pytest.fail("\n".join(found[name]), pytrace=False)
