"""Reconciliation: our books compared with the cost reports of providers.

It owns reports as they were read, the comparison, the names of differences, and the prices that bills imply.
It does not own how a report is fetched: `llm.reconciliation` does.
"""
