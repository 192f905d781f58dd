"""The caches: the exact one in Redis, the semantic one in PostgreSQL, and what they learn.

It owns entries and the decision to serve one. It does not own calls to providers or their cost.
"""
