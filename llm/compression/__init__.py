"""Shorter prompts that mean the same: JSON, whitespace, duplicates, old history. Pure functions."""

from llm.compression.compress import Compressed, CompressionStep, compress

__all__ = ["Compressed", "CompressionStep", "compress"]
