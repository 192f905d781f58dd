"""Accepts a call that may wait: which lane it takes, what is held for it, and the job that its client gets.

It owns the choice of the lane and the writing down of a job. It does not own the job's further life: `llm.jobs` does.
"""
