"""The certainty that a cached answer serves: guards, features, the verifier and its threshold.

It owns the computation, which is pure except for reading weights (`scope_state`). It does not own labels.
"""
