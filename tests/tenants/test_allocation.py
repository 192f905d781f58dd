"""Whose cost a call is: the nearest that names a tag names it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.allocation import CALLERS, SOURCES, InvalidTags, as_text, check_tags, from_text, resolve
from tenants.policy import InvalidPolicy, parse_policy

NAMES = st.sampled_from(["cost_center", "project", "env", "team"])
LEVELS = st.fixed_dictionaries(
    {source: st.dictionaries(NAMES, st.sampled_from(["", "a", "b", "c"])) for source in SOURCES}
)


def test_it_works() -> None:
    found = resolve(
        (("request", {"project": "apollo"}), ("key", {"project": "gemini", "env": "prod"}), ("tenant", {})),
        required=("cost_center", "project"),
    )
    assert found.tags == {"project": "apollo", "env": "prod"}
    assert found.sources == {"project": "request", "env": "key"}
    assert found.missing == ("cost_center",)


@given(levels=LEVELS, fixed=st.sets(NAMES), required=st.lists(NAMES, unique=True))
def test_each_tag_has_the_value_of_the_nearest_that_names_it(
    levels: dict[str, dict[str, str]], fixed: set[str], required: list[str]
) -> None:
    found = resolve([(source, levels[source]) for source in SOURCES], fixed=fixed, required=required)
    for name in ("cost_center", "project", "env", "team"):
        naming = [source for source in SOURCES if levels[source].get(name)]
        if name in fixed:  # whoever calls comes last
            naming.sort(key=lambda source: source in CALLERS)
        if not naming:
            assert name not in found.tags
            assert (name in found.missing) == (name in required)
        else:
            assert (found.tags[name], found.sources[name]) == (levels[naming[0]][name], naming[0])
            assert name not in found.missing


@given(tags=st.dictionaries(NAMES, st.text(min_size=1, max_size=50)))
def test_tags_that_are_accepted_are_read_as_they_are_written(tags: dict[str, str]) -> None:
    try:
        check_tags(tags)
    except InvalidTags:
        return
    assert from_text(as_text(tags)) == tags


@pytest.mark.parametrize(
    "tags",
    [
        *(
            {"": "x"},
            {"a,b": "x"},
            {"a=b": "x"},
            {"a": "x,y"},
            {"a": ""},
            {" a": "x"},
            {"a": True},
            {"a" * 101: "x"},
        ),
        *([], "a=b", {f"name{number}": "x" for number in range(21)}, {"a": "x" * 201}, {"a": "x\n"}),
    ],
)
def test_tags_that_no_header_could_name_are_refused(tags: Any) -> None:
    with pytest.raises(InvalidTags):
        check_tags(tags)
    with pytest.raises(InvalidPolicy, match="allocation"):
        parse_policy({"allocation": {"tags": tags}})


def test_a_number_is_taken_for_its_text() -> None:
    assert parse_policy({"allocation": {"tags": {"cost_center": 4711}}}).allocation.tags == {
        "cost_center": "4711"
    }
