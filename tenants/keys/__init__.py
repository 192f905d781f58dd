"""API keys: their strings, their life, and the caller behind one.

It owns keys and authentication. It does not own what a caller may spend.
"""
