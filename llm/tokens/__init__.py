"""Counting tokens: of texts, images and whole requests.

It owns vocabularies, each API's framing, and the correction of counts by past calls. It does not own prices.
"""
