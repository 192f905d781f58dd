"""API keys: their format, their life, and the authentication of callers.

It owns keys and authentication. It does not own what a caller may spend.
"""
