"""Lines to copy: how each tool is pointed at the gateway with a key.

Invariant: text only. The key is a placeholder except on the one page that shows a new secret; no line puts it into an address.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest

from llm.models import LanguageModel
from llm.providers.kinds import KINDS
from tenants.keys.own_keys import may_use

PLACEHOLDER: Final = "YOUR-KEY"
MOST_MODELS: Final = 200
CHAT, MESSAGES = "openai.chat", "anthropic.messages"  # the APIs that the lines of the two SDKs speak


@dataclass(frozen=True)
class Snippet:
    """What to copy for one tool. `where` says what to do with it."""

    name: str
    title: str
    where: str
    text: str


def snippets(
    request: HttpRequest, *, secret: str = PLACEHOLDER, models: Sequence[str] = ("*",)
) -> list[Snippet]:
    """The lines of every tool, for a key that may use these models: two queries at most."""
    base = request.build_absolute_uri("/").rstrip("/")
    names = chat_models(models)
    openai = _first(names, answers=CHAT) or next((name for name, _ in names), "auto")
    anthropic = _first(names, answers=MESSAGES) or openai
    return [Snippet(name, title, where, text.strip().format(base=base, secret=secret, openai=openai, anthropic=anthropic))
            for name, title, where, text in TEXTS]  # fmt: skip


def _first(names: Sequence[tuple[str, str]], *, answers: str) -> str:
    """The first model whose provider answers an API itself; empty if none does."""
    return next((name for name, kind in names if KINDS[kind].answers.get(answers) == answers), "")


def chat_models(models: Sequence[str]) -> list[tuple[str, str]]:
    """The chat models that a key with these globs may use, each with its protocol; of the first of the catalogue."""
    known = LanguageModel.objects.filter(is_active=True, kind=LanguageModel.Kind.CHAT).order_by("name")
    return [
        (name, kind)
        for name, kind in known.values_list("name", "provider__kind")[:MOST_MODELS]
        if may_use(models, name)
    ]


TEXTS: Final = (
    (
        "curl",
        "curl",
        "In a shell: one call, to see that it works.",
        """
curl {base}/v1/chat/completions \\
  -H "authorization: Bearer {secret}" -H "content-type: application/json" \\
  -d '{{"model": "{openai}", "messages": [{{"role": "user", "content": "Say hello."}}]}}'
""",
    ),
    (
        "openai-python",
        "OpenAI, Python",
        "pip install openai",
        """
from openai import OpenAI

client = OpenAI(base_url="{base}/v1", api_key="{secret}")
answer = client.chat.completions.create(
    model="{openai}", messages=[{{"role": "user", "content": "Say hello."}}]
)
print(answer.choices[0].message.content)
""",
    ),
    (
        "openai-node",
        "OpenAI, Node",
        "npm install openai",
        """
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{base}/v1", apiKey: "{secret}" }});
const answer = await client.chat.completions.create({{
  model: "{openai}", messages: [{{ role: "user", content: "Say hello." }}],
}});
console.log(answer.choices[0].message.content);
""",
    ),
    (
        "anthropic-python",
        "Anthropic, Python",
        "pip install anthropic",
        """
from anthropic import Anthropic

client = Anthropic(base_url="{base}", api_key="{secret}")
answer = client.messages.create(
    model="{anthropic}", max_tokens=200, messages=[{{"role": "user", "content": "Say hello."}}]
)
print(answer.content[0].text)
""",
    ),
    (
        "anthropic-node",
        "Anthropic, Node",
        "npm install @anthropic-ai/sdk",
        """
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({{ baseURL: "{base}", apiKey: "{secret}" }});
const answer = await client.messages.create({{
  model: "{anthropic}", max_tokens: 200, messages: [{{ role: "user", content: "Say hello." }}],
}});
console.log(answer.content[0].text);
""",
    ),
    (
        "claude-code",
        "Claude Code",
        "In the shell in which you start it, or in its settings under env.",
        """
export ANTHROPIC_BASE_URL={base}
export ANTHROPIC_API_KEY={secret}
export ANTHROPIC_MODEL={anthropic}
claude
""",
    ),
    (
        "codex",
        "Codex",
        "The first lines into ~/.codex/config.toml, the last one into the shell.",
        """
model = "{openai}"
model_provider = "purser"

[model_providers.purser]
name = "Purser"
base_url = "{base}/v1"
env_key = "PURSER_KEY"
wire_api = "responses"

# in the shell:
export PURSER_KEY={secret}
""",
    ),
)
