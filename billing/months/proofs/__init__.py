"""Receipts that anybody can check without us: each ledger row of a closed month has a place in a tree whose root is
part of the statement's digest.

It owns the tree's form (RFC 6962), what a leaf says, and the program that checks a receipt against a statement.
It does not close months, and it does not decide who may read a receipt.
"""
