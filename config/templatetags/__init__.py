"""Parts of pages that all apps' templates use.

It owns how parts look. It does not own what is in them.
"""
