"""Benchmarks of months: closing them, and making their files.

It owns a month of a million calls and what is measured on it. It does not own figures: they are in `benchmarks/results`.
"""
