"""The sandbox: an LLM provider of our own, its own process, that speaks the OpenAI and the Anthropic wire
format.

Invariant: it imports nothing of the product but `llm.tokens.counting`, and nothing of the product knows it: it is
declared as a provider like any other. `python -m llm.sandbox --port N` starts it.

It owns a provider's behaviour, with its faults. It does not own or import anything that serves clients.
"""
