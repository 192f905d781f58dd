"""What the traffic that was says about a change that is not made yet: rate limits gone through again, and counts of requests.

It owns the questions to the log of requests that a preview asks, and how many rows they read at most. It does not own the pages
that show the answers, nor what a budget would have refused (`billing/budgets/replays.py`).
"""
