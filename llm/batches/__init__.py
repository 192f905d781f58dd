"""Batches: validated line by line, held, submitted to the providers' batch APIs, settled line by line.

It owns batches and their lines. It does not own the money of a line: the ledger does; nor files: `llm.files` does.
"""
