"""Tools that a provider runs by itself, and what it bills for them besides the tokens of the usage block.

Invariant: the provider's own count of a tool is used before ours; an item of a kind that we do not know is never free.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from billing.usage.blocks.counts import Block, count_of
from billing.usage.blocks.doubts import Doubts

# Items of a Responses answer that carry a fee of their own, which no usage block mentions.
FEE_ITEMS: Final = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",
}
# To open a page, or to look for something in it, is no search.
FREE_ACTIONS: Final = frozenset({"open_page", "find", "find_in_page"})
# Items that cost their tokens and nothing else, or that the client runs itself.
FREE_ITEMS: Final = frozenset(
    {
        *("message", "reasoning", "compaction", "function_call", "function_call_output"),
        *("custom_tool_call", "custom_tool_call_output", "computer_call", "computer_call_output"),
        *("local_shell_call", "local_shell_call_output", "apply_patch_call", "apply_patch_call_output"),
        *("mcp_call", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response"),
        *("tool_search_call", "tool_search_output", "item_reference", "output_text", "text"),
    }
)
# A shell costs a container, unless it is the client's.
SHELL_ITEMS: Final = frozenset({"shell_call", "shell_call_output"})


def fees_of_items(items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the items of a Responses answer that cost a fee, by meter."""
    counts: dict[str, int] = {}
    for item in items:
        meter, action = FEE_ITEMS.get(str(item.get("type"))), item.get("action")
        if meter and not (isinstance(action, Mapping) and action.get("type") in FREE_ACTIONS):
            counts[meter] = counts.get(meter, 0) + 1
    return counts


def unknown_items(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The types of the items that we do not know, and so may cost something."""
    return sorted({str(item.get("type"))[:40] for item in items if not _is_known(item)})


def read_tools(context: Mapping[str, Any], doubts: Doubts) -> dict[str, int]:
    """The meters of tools: `tool_calls` (counted by us, by name), `tool_usage` (the provider's own block) and
    `unknown_items` of a call's context."""
    meters: dict[str, int] = {}
    for name, count in (context.get("tool_calls") or {}).items():
        meter, calls = FEE_ITEMS.get(name, name), count_of(count)
        if calls is None:
            doubts.contradicts(
                f"calls of {name} are no count", f"calls of {name} are no count: {count!r:.60}"
            )
        meters[meter] = meters.get(meter, 0) + (calls or 0)
    counted = context.get("tool_usage")
    if isinstance(counted, Mapping):
        block = Block(counted, doubts, path="tool_usage")
        for tool in ("web_search", "file_search"):
            part = block.part(tool)
            if part.has_any("num_requests"):
                meters[tool] = part.count("num_requests")
        block.finish()
    elif counted is not None:
        doubts.unread("tool_usage", counted)
    for kind in context.get("unknown_items") or ():
        doubts.unread(f"an item of type {kind}", kind)
    return meters


def _is_known(item: Mapping[str, Any]) -> bool:
    kind = str(item.get("type"))
    if kind in SHELL_ITEMS:
        environment = item.get("environment")
        return not isinstance(environment, Mapping) or environment.get("type") == "local"
    return kind in FREE_ITEMS or kind in FEE_ITEMS
