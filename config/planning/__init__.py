"""The pages of planning: budgets against actual, unit costs, what changes ahead, and what nobody uses.

It owns what stands on them. It does not own the figures: `billing.planning` has those, for everybody.
"""
