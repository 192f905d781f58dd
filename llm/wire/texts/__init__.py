"""Texts on the wire: JSON, server-sent events and bodies, before any protocol gives them a meaning.

It owns reading and writing them exactly. It does not own what a field means: the protocols' modules do.
"""
