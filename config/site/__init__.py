"""The site around the API: the theme of the admin, the security of pages, and the API's reference.

It owns what all pages share. It does not own single pages: each app's `admin` does.
"""
