"""Reads the usage blocks of providers: one module per aspect; `billing.usage.reading` is the entry point.

It owns the shapes in which providers report usage. It does not own prices or how far a figure is believed.

Invariant: pure. Nothing in a block goes unread: what has no place among the meters and is not known to cost nothing
is a doubt of its reading.
"""
