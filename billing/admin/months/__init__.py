"""The files of a month on its page: asking for them, seeing them being made, taking them away.

It owns the panel of files on the page of month reports. It does not own the jobs that make them: `billing/months/jobs` does.
"""
