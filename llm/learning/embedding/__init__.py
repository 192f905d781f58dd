"""Embedding models of the catalogue as embedders of the semantic cache."""
