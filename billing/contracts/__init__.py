"""What is agreed with a tenant besides prices: what is given back, paid ahead, committed to, and in which currency.

It owns these agreements and the entries that they make. It does not own the ledger: entries are booked by its functions.
"""
