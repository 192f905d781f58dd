"""The journal: a month as balanced entries for a general ledger.

It owns how what is owed becomes debits and credits, and their file. It does not own statements, or the accounts' table.
"""
