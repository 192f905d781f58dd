"""Reading the usage blocks of providers: `billing.usage.reading` is their door, a module here for each thing to know.

It owns the shapes in which providers report usage. It does not own prices or how far a figure is believed.

Invariant: pure. Nothing in a block goes unread: what has no place among the meters and is not known to cost nothing
is a doubt of its reading.
"""
