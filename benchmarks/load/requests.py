"""The requests that gateways are measured with: a support desk's question of some 90 tokens.

Invariant: `everything` and `plain` are never asked twice, `hit` is one of fifty questions. All bodies are of one length.
"""

from benchmarks.load.generators import TOKEN, USER, Request
from benchmarks.load.product import GOVERNED_KEY, NAMED_MODEL, PLAIN_KEY

SYSTEM = (
    "You are the support desk of a bank. Be brief and friendly. Answer from the bank's terms of business only, never promise "
    "a date that they do not name, and say which department helps further when you cannot. Do not ask for a password."
)
QUESTION = (
    "How long do transfers to another bank stay pending before the money arrives? My reference number is"
)
PATH = "/v1/chat/completions"
REPEATED = 50


def chat(base_url: str, *, key: str, model: str, repeated: bool = False) -> Request:
    """A chat completion, new each time or repeated."""
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"{QUESTION} {TOKEN}."},
        ],
        "max_tokens": 200,
        "user": f"customer-{USER}",
    }
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return Request(f"{base_url}{PATH}", body, headers, tokens=REPEATED if repeated else 0)


def everything(base_url: str) -> Request:
    return chat(base_url, key=GOVERNED_KEY, model="auto")


def hit(base_url: str) -> Request:
    return chat(base_url, key=GOVERNED_KEY, model="auto", repeated=True)


def plain(base_url: str) -> Request:
    return chat(base_url, key=PLAIN_KEY, model=NAMED_MODEL)


def raw(base_url: str) -> Request:
    return chat(base_url, key="", model=NAMED_MODEL)
