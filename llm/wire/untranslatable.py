"""The error when one provider kind is asked for what only another one can do."""

from llm.errors import InvalidRequest


class Untranslatable(InvalidRequest):
    """A parameter has no counterpart in the protocol of the model's provider: refused by name."""

    def __init__(self, param: str, *, target: str) -> None:
        super().__init__(f"Parameter '{param}' cannot be translated for {target}.", param=param)
