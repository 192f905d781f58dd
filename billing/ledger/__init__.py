"""The ledger: holds before a call, settlements after it, and everything that is written about money.

It owns attempts, usage records, their corrections, and the database connection that writes them.
It does not own what a unit costs (`prices`) or what a month looks like once it is closed (`months`).
"""
