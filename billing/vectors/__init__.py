"""Vectors: the public test cases of costs, statements and periods, replayed with the product's own functions.

It owns their format. It does not own any rule: each vector calls the code that requests use.
"""
