"""The exact cache: the same request, the same answer; and one call for equal requests at one time.

It owns keys, entries in Redis and single flight. It does not own the decision whether a tenant wants it: a policy does.
"""
