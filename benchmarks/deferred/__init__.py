"""Deferred calls against a clairvoyant: a clock, providers whose delays are as published, and days of jobs."""
