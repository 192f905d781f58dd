"""One call: its context, its receipt, its answer, and its end.

It owns what is true of any call, made by a client, by a cache that checks itself, or by a judge.
It does not own what happens to the call on its way (`steps`).
"""
