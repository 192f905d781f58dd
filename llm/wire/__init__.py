"""The protocols of our clients and of their models' providers, as pure functions over decoded JSON.

It owns reading and writing each protocol's bodies and streams. It does not own sending them (`providers`).
"""

from llm.wire.exchange import (
    WIRE_FORMATS,
    Exchange,
    Translated,
    format_for,
    prepare,
    stored_bytes,
    translated,
)
from llm.wire.formats import Body, RequestFacts, StreamMeter, Tail, WireFormat
from llm.wire.texts.splicing import Source
from llm.wire.untranslatable import Untranslatable

__all__ = [
    "WIRE_FORMATS",
    "Body",
    "Exchange",
    "RequestFacts",
    "Source",
    "StreamMeter",
    "Tail",
    "Translated",
    "Untranslatable",
    "WireFormat",
    "format_for",
    "prepare",
    "stored_bytes",
    "translated",
]
