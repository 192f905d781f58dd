"""How dates and numbers are written on the site's pages, by language.

It owns formats of pages. It does not own formats of files or of the API.
"""
