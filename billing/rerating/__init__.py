"""Rerating: what past usage costs at prices that became known later.

It owns proposals and the corrections they book once a person approved them. It does not own prices.
"""
