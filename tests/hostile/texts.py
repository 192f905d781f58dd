"""Attacks on the processor: texts that are cheap to send and dear to read, below every limit of size."""

import random

from tests.hostile.attacker import FINE, Attacker, attack

COMPRESSED = {"x-purser-compress": "on"}
NEVER_CALLED = FINE


def texts(size: int) -> dict[str, str]:
    """By name; about sixty thousand characters each, times `size`."""
    chance = random.Random(1)
    words = [f"w{chance.randrange(10**6)}" for _ in range(8_000 * size)]
    beginning = " ".join(words[:25])
    return {
        "tags that never close": "<system-reminder>" * (3_500 * size),
        "tags that close others": "<a><b></a>" * (6_000 * size),
        "closing tags alone": "</system-reminder>" * (3_300 * size),
        "half tags": "<system-reminder" * (3_700 * size),
        "a fence with a long name": "{\n```" + "a" * (40_000 * size),
        "fences that never close": "```\n" * (15_000 * size),
        "fences of tildes and ticks": "~~~\n```\n" * (7_000 * size),
        "paragraphs that begin alike": "\n\n".join(f"{beginning} {number}" for number in range(400 * size)),
        "lines that are all alike": "the same line as before\n" * (2_500 * size),
        "spaces": " " * (200_000 * size),
        "line ends": "\n" * (100_000 * size),
        "spaces and line ends": " \n" * (60_000 * size),
        "brackets": "[" * (60_000 * size),
        "braces and quotes": '{"' * (30_000 * size),
        "backslashes": "\\" * (60_000 * size),
        "digits": "1" * (60_000 * size),
        "numbers with commas": "1,000," * (10_000 * size),
        "addresses": "a@" * (30_000 * size) + "b",
        "links": "http://" * (8_000 * size),
        "dots": "a." * (30_000 * size),
        "question marks": "?" * (60_000 * size),
        "capitals": "Aa" * (30_000 * size),
        "negations": "not " * (15_000 * size),
        "combining marks": "a" + "\u0301" * (30_000 * size),
        "emoji in a family": "👩\u200d👩\u200d👧" * (5_000 * size),
        "no spaces": "x" * (60_000 * size),
        "words at random": " ".join(words),
        "special tokens": "<|endoftext|>" * (4_600 * size),
        "base64": "QUFBQUFBQUE=" * (5_000 * size),
        "comments": "/*" * (30_000 * size),
        "tables": "|" * (60_000 * size),
        "lists": "- [ ] " * (10_000 * size),
        "quotation marks": "\u201c\"'" * (20_000 * size),
    }


def _attack_with(name: str) -> None:
    async def send(attacker: Attacker) -> list[int]:
        text = texts(attacker.size)[name]
        turns = [{"role": "user", "content": text}]
        calls = [attacker.chat(text, headers=COMPRESSED), attacker.chat(text, model="auto")]
        for path, model in (("/v1/estimate", attacker.model), ("/v1/messages/count_tokens", attacker.claude)):
            calls.append(attacker.post(path, {"model": model, "messages": turns}))
        return await attacker.all(calls)

    send.__name__ = name.replace(" ", "_")
    attack(f"{name}: to a model, to `auto`, to the estimate, to be counted")(send)


for _name in texts(1):
    _attack_with(_name)


@attack("an estimate of 150 long calls")
async def long_estimates(attacker: Attacker) -> list[int]:
    one = {
        "model": attacker.model,
        "messages": [{"role": "user", "content": "seven words or so in it " * 400}],
    }
    calls = [{**one, "user": str(number)} for number in range(50 * attacker.size)]
    return [
        await attacker.post("/v1/estimate", {"requests": calls}),
        await attacker.post("/v1/estimate", calls),
    ]


@attack("estimates and counts without end")
async def many_estimates(attacker: Attacker) -> list[int]:
    turns = [{"role": "user", "content": "Hello there. " * 2_000}]
    paths = ("/v1/estimate", "/v1/messages/count_tokens", "/v1/responses/input_tokens")
    body = {"model": attacker.model, "messages": turns, "input": "Hello there. " * 2_000}
    return await attacker.all(attacker.post(path, body) for path in paths for _ in range(10 * attacker.size))


@attack("four megabytes of spaces")
async def megabytes_of_spaces(attacker: Attacker) -> list[int]:
    return [await attacker.chat(" " * (2_000_000 * attacker.size))]


def nested(levels: int, *, within: str = '{"a":', ends: str = "}") -> str:
    """An object in an object, so many times, as text: Python's own writer does not go so deep."""
    return within * levels + "1" + ends * levels


@attack("objects in objects: in a tool's schema, in a schema of the answer, in metadata, in the content")
async def deep_nesting(attacker: Attacker) -> list[int]:
    found = []
    for levels in (100, 260, 480, 900):
        deep = nested(levels)
        parts = nested(levels, within='[{"type":"text","text":"x","content":', ends="}]")
        fields = [
            f'"tools":[{{"type":"function","function":{{"name":"f","parameters":{deep}}}}}]',
            f'"response_format":{{"type":"json_schema","json_schema":{{"name":"x","schema":{deep}}}}}',
            f'"metadata":{deep}',
        ]
        chats = [f'"messages":[{{"role":"user","content":"x"}}],{field}' for field in fields]
        chats.append(f'"messages":[{{"role":"user","content":{parts}}}]')
        for chat in chats:
            body = f'{{"model":"{attacker.model}","max_tokens":16,{chat}}}'
            found.append(await attacker.post("/v1/chat/completions", body.encode()))
        result = f'[{{"type":"tool_result","tool_use_id":"t","content":{parts}}}]'
        body = f'{{"model":"{attacker.claude}","max_tokens":16,"messages":[{{"role":"user","content":{result}}}]}}'
        found.append(await attacker.post("/v1/messages", body.encode()))
    return found


@attack("a hundred thousand brackets as a body")
async def brackets_as_a_body(attacker: Attacker) -> list[int]:
    return [
        await attacker.post("/v1/chat/completions", b"[" * 100_000),
        await attacker.post("/v1/responses", b'{"a":' * 50_000),
    ]


@attack("an object of fifty thousand keys, a list of fifty thousand turns")
async def wide_bodies(attacker: Attacker) -> list[int]:
    wide = {f"k{number}": number for number in range(50_000)}
    return [
        await attacker.chat(metadata=wide),
        await attacker.chat(**wide),
        await attacker.post(
            "/v1/chat/completions",
            {
                "model": attacker.model,
                "messages": [{"role": "user", "content": "x"}] * 50_000,
                "max_tokens": 16,
            },
        ),
    ]


@attack("a pattern in a schema that takes for ever")
async def patterns_of_schemas(attacker: Attacker) -> list[int]:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}, "b": {"$ref": "#"}},
        "required": ["a"],
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    return [await attacker.chat("Say " + "a" * 40 + "!", response_format=form)]
