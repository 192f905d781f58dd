"""Attacks on what tenants share: the provider's limits, the budgets' windows, the queues."""

from tests.hostile.attacker import REFUSED, Attacker, attack

TWO_TO_31 = 2**31 - 1


@attack(
    "an output limit of 2,147,483,647 tokens, in each protocol and by each name",
    may_get=REFUSED,
    is_refused=True,
)
async def endless_output(attacker: Attacker) -> list[int]:
    turns = [{"role": "user", "content": "Hello"}]
    return [
        await attacker.chat(max_tokens=TWO_TO_31),
        await attacker.post(
            "/v1/chat/completions",
            {"model": attacker.model, "messages": turns, "max_completion_tokens": TWO_TO_31},
        ),
        await attacker.post(
            "/v1/messages", {"model": attacker.claude, "messages": turns, "max_tokens": TWO_TO_31}
        ),
        await attacker.post(
            "/v1/responses", {"model": attacker.model, "input": "Hello", "max_output_tokens": TWO_TO_31}
        ),
        await attacker.post(
            "/v1/completions", {"model": attacker.model, "prompt": "Hello", "max_tokens": TWO_TO_31}
        ),
    ]


@attack("as many choices as a number can say", may_get=REFUSED, is_refused=True)
async def endless_choices(attacker: Attacker) -> list[int]:
    return [await attacker.chat(n=count) for count in (TWO_TO_31, 129, 10**18, -1)]


@attack("calls that no budget affords, again and again", may_get=REFUSED, is_refused=True)
async def refused_and_repeated(attacker: Attacker) -> list[int]:
    return await attacker.all(attacker.chat(max_tokens=16_000, n=100) for _ in range(60 * attacker.size))


@attack("many small calls at once, each with a user that nobody knows")
async def invented_users(attacker: Attacker) -> list[int]:
    return await attacker.all(
        attacker.chat(f"Hello {number}", user=f"nobody-{number}") for number in range(40 * attacker.size)
    )


@attack("streams whose client goes at the first byte")
async def hang_ups(attacker: Attacker) -> list[int]:
    body = b'{"model":"%b","stream":true,"max_tokens":200,"messages":[{"role":"user","content":"Write 90 words."}]}'
    content = body % attacker.model.encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {attacker.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return await attacker.all(
        attacker.raw(head.encode() + content, seconds=20) for _ in range(20 * attacker.size)
    )
