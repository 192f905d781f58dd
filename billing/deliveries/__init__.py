"""Deliveries of reports: which are due, their files, and sending them to mailboxes, storages and folders.

It owns schedules and the outbox of their deliveries. It does not own the files: jobs of months make them, and closing.
"""
