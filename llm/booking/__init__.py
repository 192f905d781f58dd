"""From a provider's answer to what is booked of it, for live calls and lines of batches alike.

Invariant: pure.
"""
