"""Calls to providers: one client for every kind, its failures, its limits and its retries.

It owns connections, health, and an account's share of each limit; `kinds` says how the providers differ.
It does not own money or which model is called.
"""
