"""The files of a month on its page: asking for them, seeing them being made, taking them away; and having them delivered.

It owns the panel of files on the page of month reports, and the pages of schedules. It does not own the jobs that make files:
`billing/months/jobs` does; nor their delivery: `billing/deliveries` does.
"""
