"""Putting a measured load on a gateway: cores, the static upstream, load generators, counters, tables.

It owns what the benchmarks of speed share. It does not own which requests they send or what they claim.
"""
