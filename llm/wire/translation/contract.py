"""The interface of a translation.

Invariant: a translation belongs to one request; its parts may rely on what that request asked.
"""

from typing import Protocol

from llm.wire.formats import Body


class StreamTranslator(Protocol):
    """Turns a provider's decoded events into the client's."""

    def feed(self, payload: Body) -> list[Body]: ...

    def end(self) -> list[Body]:
        """What is left to say when the provider's stream has ended."""
        ...


class Translation(Protocol):
    """One request on its way to a provider of another protocol, and its answer on the way back.

    `let_go` names the hints of the request that the provider does not get, once the request is made.
    """

    let_go: list[str]

    def request(self) -> Body:
        """The request in the provider's protocol, or raise Untranslatable."""
        ...

    def response(self, response: Body) -> Body: ...

    def stream(self) -> StreamTranslator: ...


class Translator(Protocol):
    """Begins the translation of a client's request."""

    def __call__(self, body: Body) -> Translation: ...
