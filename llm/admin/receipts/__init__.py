"""A request's receipt as a page: its story, why it was refused and what would let it through.

It owns how a receipt reads. It does not own what is in it: `llm.calls.receipt` and the steps do.
"""
