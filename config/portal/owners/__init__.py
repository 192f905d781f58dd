"""The owners' pages: the tenant's people and invitations, its policy, and what was changed.

Each page is opened by owners alone (`OWNERS`).
"""
