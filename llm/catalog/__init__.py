"""The catalogue: which models a tenant may call, and at which accounts.

It owns the facts in memory and how they are loaded from the database. It does not own the tables (`models`).
"""
