"""How sure the cache is that an answer serves: guards, features, the verifier and its threshold.

It owns the arithmetic; it is pure. It does not own labels or rows.
"""
