"""Jobs of months: making the files of a report, closing.

It owns asking for a job, doing it under a lease, going on with what a lost worker left, and telling how far it is.
It does not own what a month consists of or how it is closed: `billing/months` does.
"""
