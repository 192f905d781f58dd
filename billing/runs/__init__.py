"""What coding agents and other long work spend: sums of their sessions and runs, as trees, and the envelopes that bound them.

It owns the sums by hour, the trees, and envelopes. It does not own holds: an envelope is a budget, and the ledger decides
whether a call fits.
"""
