"""The texts of a body that we store: free texts that a client wrote and reads again.

Invariant: what passes here can be stored as it is; what cannot is refused by the name of its field, before any row
is written.
"""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError


def _storable(text: str) -> str:
    if "\x00" in text:
        raise PydanticCustomError("null_character", "The text has a null character, which cannot be stored")
    return text


Text = Annotated[str, AfterValidator(_storable)]
# as OpenAI bounds it
Metadata = Annotated[
    dict[Annotated[Text, Field(max_length=64)], Annotated[Text, Field(max_length=512)]], Field(max_length=16)
]
