"""What callers say of whose cost their calls are: the values of tags that are admitted, and the tags of runs.

It owns both tables and their bounds. It does not decide whose cost a call is: `tenants.allocation` does.
"""
