"""Which model serves a request: rules over plain signals, hard constraints, and budget pressure. Pure
functions.

It owns the choice of a model. It does not own which models there are (`catalog`).
"""
