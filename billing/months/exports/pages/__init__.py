"""A month as pages to read and to send: the PDF of its statement.

It owns what stands where on a page. It does not own figures or tax.

Invariant: nothing that a person or a tenant wrote is markup: the template gets values, and prints them as texts.
"""
