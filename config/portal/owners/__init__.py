"""The owners' pages.

It owns the tenant's people and invitations, its policy, and what was changed, each for owners alone. It does not own
rules: each page calls the functions of `tenants`.
"""
