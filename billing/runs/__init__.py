"""What coding agents and other long work spend: their sessions and runs as trees, and the envelopes that bound them.

It owns the trees, the lists of who was at work, and envelopes. It does not own holds: an envelope is a budget, and the ledger
decides whether a call fits.
"""
