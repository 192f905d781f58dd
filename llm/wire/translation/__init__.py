"""Requests, answers and streams of one protocol in the format of another.

It owns one module per direction. It does not own the protocols: the modules of `wire` do.
"""

from typing import Final

from llm.wire.translation.chat_to_messages import ChatToMessages
from llm.wire.translation.contract import StreamTranslator, Translation, Translator
from llm.wire.translation.messages_to_chat import MessagesToChat
from llm.wire.translation.responses_to_messages import ResponsesToMessages

# (what the client speaks, what the provider speaks)
TRANSLATIONS: Final[dict[tuple[str, str], Translator]] = {
    ("openai.chat", "anthropic.messages"): ChatToMessages,
    ("openai.responses", "anthropic.messages"): ResponsesToMessages,
    ("anthropic.messages", "openai.chat"): MessagesToChat,
}

__all__ = ["TRANSLATIONS", "StreamTranslator", "Translation", "Translator"]
