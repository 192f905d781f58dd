"""Which model serves a request: rules over plain signals, hard constraints, and budget pressure. Pure
functions."""
