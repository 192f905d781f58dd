"""Files and batches: validated line by line, held, submitted to the providers' batch APIs, settled line by
line.

It owns files, batches and their lines. It does not own the money of a line: the ledger does.
"""
