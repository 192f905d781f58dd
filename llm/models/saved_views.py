"""The searches of requests that a person keeps under a name.

Invariant: a view is its owner's alone, and has only what the filter bar offers; names are unique for each person.
"""

from django.conf import settings
from django.db import models
from django.utils.timezone import now


class SavedView(models.Model):
    """One search of the list of requests, as the query of its address."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=40)
    query = models.CharField(max_length=2000, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=("user", "name"), name="saved_view_name_unique"),)

    def __str__(self) -> str:
        return self.name
