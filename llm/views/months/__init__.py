"""The API of months: files of reports, statements, chargebacks and the rules that made them.

It owns what a key may read of them and how it is answered. It does not own figures or files: `billing/months` does.
"""
