"""Usage: what a provider reported, read into disjoint meters.

It owns the reading of usage blocks, how certain a figure is, and which tier and region served a call.
It does not own prices or the ledger.
"""
