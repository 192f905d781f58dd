"""A tenant's page: its story in tabs, each with an address of its own, and the verbs beside it.

It owns the pages and what they ask of every app. It does not own rules: a button calls the app that owns the thing. A tab asks a
fixed number of queries, of sums and of bounded lists, and each names the tenant.
"""
