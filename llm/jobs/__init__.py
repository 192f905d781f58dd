"""The life of a deferred call after it was accepted: gathered into a batch, or sent in real time, until it has its answer.

It owns the jobs' states and answers. It does not own their batches, which `llm.batches` drives, nor their money: the ledger
does.
"""
