"""The semantic cache: reuses an answer for a question of the same meaning.

It owns looking up, remembering, eviction and complaints. It does not own scores (`scoring`) or labels (`learning`).
"""
