"""The hard key: two requests share a scope exactly if everything but the last question's text is the same."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from caching.scope import AnswerScope, NotComparable, Origin, circle_of, epoch_of, scope_of
from tenants.policy import parse_policy

WORDS = st.sampled_from(["", "a", "b", "a,1:b", "1:a", "tenant", "user:a"])
POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"routing": {"enabled": False}},
    {"routing": {"default_tier": "simple"}},
    {"compression": {"enabled": True}},
    {"default_max_tokens": {"standard": 100}},
)
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "f"}}]
SYSTEM = st.sampled_from([None, "You are terse.", "You are verbose."])
HISTORY = st.sampled_from(
    [(), (("user", "Hi"), ("assistant", "Hello")), (("user", "Hi"), ("assistant", "Hey"))]
)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.5]),
        "max_tokens": st.sampled_from([10, 20]),
        "seed": st.integers(0, 1),
        "tools": st.sampled_from([TOOLS, []]),
        "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
        "reasoning_effort": st.sampled_from(["low", "high"]),
        "made_up_field": st.sampled_from([None, 0, False, "", {"a": 1}]),
    },
)
TRANSPORT = st.fixed_dictionaries(
    {}, optional={"stream": st.booleans(), "user": WORDS, "metadata": st.just({"trace": "1"})}
)


@dataclass(frozen=True)
class Asked:
    """One request as the gateway sees it: everything that must keep answers apart, and what must not."""

    apart: dict[str, Any]
    question: str
    transport: dict[str, Any]

    def scope(self) -> AnswerScope:
        apart = self.apart
        policy = parse_policy({**POLICIES[apart["policy"]], "cache": {"share": apart["share"]}})
        turns = [{"role": role, "content": text} for role, text in apart["history"]]
        system = [] if apart["system"] is None else [{"role": "system", "content": apart["system"]}]
        body = {
            "model": apart["model"],
            "messages": [*system, *turns, {"role": "user", "content": self.question}],
            **apart["parameters"],
            **self.transport,
        }
        origin = Origin(
            tenant_id=apart["tenant"],
            circle=circle_of(apart["share"], user=apart["user"], key_id=apart["key"], team=apart["team"]),
            endpoint=apart["endpoint"],
            route=apart["route"],
            prompt_version=apart["prompt_version"],
            epoch=epoch_of(policy),
        )
        return scope_of(body, origin=origin, embedder=apart["embedder"])

    def key(self) -> tuple[Any, ...]:
        """What keeps answers apart, of whom only the part that the policy of sharing names; types told apart."""
        apart = dict(self.apart)
        user, key, team = apart.pop("user"), apart.pop("key"), apart.pop("team")
        whose = {"tenant": None, "user": user, "key": key, "team": team}[apart["share"]]
        return tuple(sorted((name, repr(value)) for name, value in apart.items())), whose


ASKED = st.builds(
    Asked,
    apart=st.fixed_dictionaries(
        {
            "tenant": st.integers(1, 2),
            "share": st.sampled_from(["tenant", "team", "key", "user"]),
            "user": WORDS,
            "key": st.integers(1, 2),
            "team": WORDS,
            "endpoint": st.sampled_from(["/v1/chat/completions", "/v1/responses"]),
            "route": st.sampled_from(["gpt-4o//", "auto//", "auto/simple/"]),
            "model": st.sampled_from(["gpt-4o", "auto"]),
            "embedder": st.sampled_from(["minilm-l6-v2/fp32", "wordllama-256/fp16"]),
            "prompt_version": WORDS,
            "policy": st.integers(0, len(POLICIES) - 1),
            "system": SYSTEM,
            "history": HISTORY,
            "parameters": PARAMETERS.map(lambda made: dict(sorted(made.items()))),
        }
    ),
    question=st.sampled_from(["What now?", "And then?", "\x00"]),
    transport=TRANSPORT,
)


@settings(max_examples=400)
@given(one=ASKED, data=st.data())
def test_two_requests_share_a_scope_exactly_if_all_but_the_question_is_equal(
    one: Asked, data: st.DataObject
) -> None:
    two = data.draw(ASKED)
    for name in data.draw(st.sets(st.sampled_from(sorted(one.apart)), min_size=len(one.apart) - 2)):
        two.apart[name] = one.apart[name]  # alike but for a dimension or two: the pairs that matter
    try:
        scopes = one.scope(), two.scope()
    except NotComparable:  # nobody to share with: no scope at all
        return
    assert (scopes[0].digest == scopes[1].digest) == (one.key() == two.key())


def test_whoever_cannot_be_told_shares_with_nobody() -> None:
    for share in ("user", "team"):
        try:
            circle_of(share, user="", key_id=1, team="")  # type: ignore[arg-type]
        except NotComparable:
            continue
        raise AssertionError(share)
