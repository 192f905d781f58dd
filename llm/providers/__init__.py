"""Calls to the providers: one client for all of them, what can go wrong, when to try again."""
