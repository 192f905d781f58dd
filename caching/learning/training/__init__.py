"""Training: invented questions, and the weights that every scope starts from.

It owns `python -m caching.learning.training`. Nothing of it runs in production.
"""
