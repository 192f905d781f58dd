"""Pages of months: the report, its files and having them delivered, the close and who asked for it, the certificate.

It owns pages. It does not own closing, the jobs that make files, or what a certificate says: `billing/months` does; nor
deliveries: `billing/deliveries` does.
"""
