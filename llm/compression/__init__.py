"""Shorter prompts that mean the same: JSON, whitespace, duplicates, old history. Pure functions."""
