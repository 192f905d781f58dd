"""The certificate of a close: how much of the providers' bills is explained to the token, the rest by cause, and who closed it.

It owns what a certificate says, where its figures come from, and its files. It does not compare (`billing.reconciliation` does),
nor decide who may close, and it claims nothing of days without a provider's report.
"""
