"""Connections to PostgreSQL: logins, roles, the pool, and text that it can store.

It owns which process uses which login. It does not own tables or functions: the apps do.
"""
