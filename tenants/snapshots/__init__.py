"""Snapshots: what a request needs to know about its tenant, in memory.

It owns keeping them fresh. It does not own how one is built: `llm.catalog.loading` does.
"""
