"""Answers bought ahead of time: which questions are worth it, and how they are asked.

It owns the choice of questions, and their budget. It does not own how they are answered: they are deferred calls like any other,
in batches only.
"""
