"""Shorter prompts that mean the same: JSON, whitespace, duplicates, old history. Pure functions.

It owns how a prompt gets shorter. It does not own whether a tenant wants that: a policy does.
"""

from llm.compression.compress import Compressed, CompressionStep, compress

__all__ = ["Compressed", "CompressionStep", "compress"]
