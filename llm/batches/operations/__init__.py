"""What operators see of batches and do with them.

It owns the counts, the reasons why one does not go on, the alerts, and the operators' verbs. It does not own a batch's way:
`llm.batches.driver` does, and goes on whether anybody looks or not.
"""
