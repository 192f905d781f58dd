"""Embedding models of the catalogue, as embedders of the semantic cache.

It owns the calls and how waiting texts share one. It does not own local embedders: `caching.embedders` does.
"""
