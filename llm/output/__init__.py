"""The length of answers: which limit is sent, and how much of it is held.

It owns both numbers. It does not own the hold (`billing.ledger`) or the refusal of a limit that is too high (`steps`).
"""
