"""The sandbox's control: invoices, faults to order, cost reports and received webhooks.

It owns `/control` and the report APIs. It does not own anything that a provider's API offers to callers of models.
"""
