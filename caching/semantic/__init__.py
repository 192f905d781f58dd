"""The semantic cache: an answer to a question of the same meaning.

It owns looking up, remembering, eviction and complaints. It does not own scores (`scoring`) or labels (`learning`).
"""
