"""Entries of the semantic cache: written, searched and indexed in PostgreSQL.

It owns rows and vectors in the database. It does not own the decision to serve one.
"""
