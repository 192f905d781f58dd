"""Snapshots: what a request needs to know about its tenant, in memory.

It owns keeping them current. It does not own how a whole snapshot is built: `llm.catalog.loading` does.
"""
