"""Tools in namespaces, which one of the two protocols does not have: a namespace's functions are listed among the others.

Invariant: pure. A function that comes back has the name and the namespace that the client gave it.
"""

from typing import Any

from llm.wire.formats import Body


class Namespaces:
    """The functions of a request's namespaces, by the name that the model knows them under."""

    def __init__(self, tools: Any) -> None:
        plain = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
        taken = [str(tool.get("name")) for tool in plain if tool.get("type") == "function"]
        members = [
            (str(space.get("name")), str(tool.get("name")))
            for space in plain
            if space.get("type") == "namespace"
            for tool in space.get("tools") or ()
            if isinstance(tool, dict)
        ]
        names = [*taken, *(name for _, name in members)]
        self._by_known: dict[str, tuple[str, str]] = {}
        self._known: dict[tuple[str, str], str] = {}
        for space, name in members:
            known = name if names.count(name) == 1 else f"{space}__{name}"
            self._by_known[known] = space, name
            self._known[space, name] = known

    def known_as(self, space: Any, name: Any) -> Any:
        """What the model calls a function of a namespace; a function of none keeps its name."""
        return self._known.get((str(space), str(name)), name)

    def in_client_names(self, event: Body) -> Body:
        """An answer, an item or an event in the client's own names; the same object where nothing changes."""
        if not self._by_known:
            return event
        if isinstance(event.get("item"), dict):
            return {**event, "item": self._item(event["item"])}
        if isinstance(event.get("response"), dict):
            return {**event, "response": self.in_client_names(event["response"])}
        if isinstance(event.get("output"), list):
            return {**event, "output": [self._item(item) for item in event["output"]]}
        if event.get("type") == "response.function_call_arguments.done":
            return {**event, "name": self._by_known.get(event.get("name", ""), ("", event.get("name")))[1]}
        return event

    def _item(self, item: Body) -> Body:
        if item.get("type") != "function_call" or item.get("name") not in self._by_known:
            return item
        space, name = self._by_known[item["name"]]
        return {**item, "name": name, "namespace": space}
