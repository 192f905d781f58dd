"""Requests, answers and streams of one protocol in the words of another."""

from typing import Final

from llm.wire.translation.contract import StreamTranslator, Translation, Translator

TRANSLATIONS: Final[dict[tuple[str, str], Translator]] = {}

__all__ = ["TRANSLATIONS", "StreamTranslator", "Translation", "Translator"]
