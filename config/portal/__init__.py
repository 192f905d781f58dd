"""The portal: the pages of a tenant's own people, at `/portal`.

It owns the pages, who may open which of them, and what they show. It does not own what they do: keys, budgets, raises, people and
months have their functions in the apps, and the admin calls the same ones.
"""
