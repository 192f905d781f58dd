"""Embedders that run in the process: MiniLM and WordLlama.

It owns models, how they are built, and vectors of texts. It does not own entries (`entries`) or remote embedders.
"""
