"""One call: its context, its receipt, its answer, and its end.

It owns what is true of any call, whoever makes it: a client, a cache that checks itself, or a judge.
It does not own what happens to the call on its way (`steps`).
"""
