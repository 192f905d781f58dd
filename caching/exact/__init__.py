"""The exact cache: an identical request gets the same answer. Equal requests at the same time share one call.

It owns keys, entries in Redis and single flight. It does not own whether a tenant uses it: the policy decides.
"""
