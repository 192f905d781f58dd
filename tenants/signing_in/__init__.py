"""Signing in to the admin, and slowing down guessed passwords.

It owns sessions' beginnings. It does not own what a person may do there (`admin.access`).
"""
