"""How dates and numbers are written on the site's pages, by language."""
