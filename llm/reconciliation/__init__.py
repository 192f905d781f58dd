"""Fetching the cost reports of providers, and the page that compares them with our books.

It owns the requests to providers' report APIs. It does not own the comparison: `billing.reconciliation` does.
"""
