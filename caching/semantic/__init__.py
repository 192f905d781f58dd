"""Semantic."""
