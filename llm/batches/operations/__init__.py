"""What operators see of batches and do with them: counts, what is stuck, alerts, verbs.

It does not own a batch's way: `llm.batches.driver` does, and goes on whether anybody looks or not.
"""
