"""Streamed answers: from the provider's events to the client's chunks, and their books while they run.

It owns the line to a client that may read slowly, a stream's progress in the ledger, and holds that a stream outgrows.
It does not own the events (`llm.wire`) or what is booked at the end (`settling`).
"""
