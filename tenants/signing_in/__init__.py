"""Login to the admin, and protection against password guessing.

It owns the start of sessions. It does not own what a person may do in the admin (`admin.access`).
"""
