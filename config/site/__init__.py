"""The site around the API: the look of the admin, security of pages, and the API's reference.

It owns what all pages share. It does not own any one page: each app's `admin` does.
"""
