"""Reconciliation: our books compared with the cost reports of providers.

It owns reports as they were read, the comparison, and the names of differences.
It does not own how a report is fetched: `llm.reconciliation` does.
"""
