"""What a line of a provider's cost report is about: its model, its meter, its processing, where it says so.

Invariant: pure; nothing is guessed. A text that names no model or no meter we know keeps them empty, and such a
line is compared as what it is: a cost that none of our calls explains by name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

PROCESSINGS = ("batch", "flex", "priority")
OPENAI_METERS = {
    "input": "input",
    "text input": "input",
    "cached input": "cache_read",
    "cached text input": "cache_read",
    "cache writes": "cache_write",
    "cache write": "cache_write",
    "output": "output",
    "text output": "output",
    "audio input": "input_audio",
    "cached audio input": "cache_read_audio",
    "audio output": "output_audio",
    "image input": "input_image",
    "cached image input": "cache_read_image",
    "image output": "output_image",
}
OPENAI_TOOLS = (("web search", "web_search"), ("file search", "file_search"))
ANTHROPIC_METERS = {
    "uncached_input_tokens": "input",
    "input_no_cache": "input",
    "cache_read_input_tokens": "cache_read",
    "input_cache_read": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "input_cache_write_5m": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "input_cache_write_1h": "cache_write_1h",
    "output_tokens": "output",
    "output": "output",
}
TOOL_METERS = ("web_search", "file_search", "code_execution")
DATE_SUFFIX = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$")


@dataclass(frozen=True, slots=True)
class LineItem:
    """A model as the provider calls it, a meter as we call it; empty where the line does not say."""

    model: str = ""
    meter: str = ""
    processing: str = ""

    @property
    def unit(self) -> str:
        """What its quantities count."""
        return "calls" if self.meter in TOOL_METERS else "tokens"


def openai_item(text: str) -> LineItem:
    """Read "gpt-4o-mini-2024-07-18 batch, cached input"."""
    name, _, what = text.rpartition(", ")
    meter = OPENAI_METERS.get(what.strip().lower(), "")
    if not meter:
        lowered = text.lower()
        return LineItem("", next((known for words, known in OPENAI_TOOLS if words in lowered), ""))
    words = name.strip().split()
    processing = words.pop().lower() if len(words) > 1 and words[-1].lower() in PROCESSINGS else ""
    return LineItem(" ".join(words), meter, processing)


def anthropic_item(*, model: str, token_type: str, cost_type: str, service_tier: str) -> LineItem:
    """Read the columns of a row of the cost report or of the console's export."""
    meter = ANTHROPIC_METERS.get(token_type, "") or (cost_type if cost_type in TOOL_METERS else "")
    return usage_item(model=model, meter=meter, service_tier=service_tier)


def usage_item(*, model: str, meter: str, service_tier: str) -> LineItem:
    """A meter of Anthropic's usage report."""
    processing = next((name for name in PROCESSINGS if service_tier.startswith(name)), "")
    return LineItem("" if meter in TOOL_METERS else model, meter, processing)


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The names under which an account's models are compared: ours, where one of our models has the provider's.

    `upstreams` is our name to the provider's. Models that share one upstream cannot be separated on a bill, so
    they are compared together under the provider's name.
    """

    upstreams: Mapping[str, str]

    @property
    def compared(self) -> frozenset[str]:
        """The names of all models of the account."""
        return frozenset(self.of_ours(model) for model in self.upstreams)

    def of_provider(self, model: str) -> str:
        """The name under which the provider's model is compared; a version's date does not count."""
        slug = _slug(model)
        ours = [name for name, upstream in self.upstreams.items() if _slug(upstream) == slug]
        return model if not ours else ours[0] if len(ours) == 1 else slug

    def of_ours(self, model: str) -> str:
        """The name under which our model is compared; one that is gone from the catalogue keeps its own."""
        upstream = self.upstreams.get(model)
        return model if upstream is None else self.of_provider(upstream)

    def item(self, item: LineItem) -> LineItem:
        """The line item with our name of its model."""
        return replace(item, model=self.of_provider(item.model)) if item.model else item


def known_meter(meter: str, meters: Iterable[str]) -> str:
    """The meter of a set that a meter is compared with: writes to the prompt cache go by several names."""
    return "cache_write" if meter.startswith("cache_write") and "cache_write" in meters else meter


def _slug(model: str) -> str:
    """A model without its version's date; "Claude Haiku 4.5", as the console says it, is claude-haiku-4-5."""
    name = re.sub(r"[ .]+", "-", model.lower()) if " " in model else model
    return DATE_SUFFIX.sub("", name)
