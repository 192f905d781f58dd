"""Connections to PostgreSQL: logins, roles, the pool, and text that it can store.

It owns who connects as whom. It does not own tables or functions: the apps do.
"""
