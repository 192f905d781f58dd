"""Signing in: passwords, second factors, codes by e-mail, and protection against guessing, on django-allauth.

It owns the start of sessions. It does not own who may come (`people`), nor what a person may do (`people.rights`).
"""
