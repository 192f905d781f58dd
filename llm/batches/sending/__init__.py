"""The way of lines to their providers: parted into jobs within their limits, ordered, answered in real time, sent again.

It owns the jobs' contents and the tries of a line. It does not own the jobs' states, which `llm.batches.jobs` advances.
"""
