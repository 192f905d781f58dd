"""What the caches count: hits, savings and checks, by scope and by hour.

It owns the counters. It does not own the pages that show them (`admin`).
"""
