"""The columns of lists: amounts stand right with one number of places, counts have thousands, times have their zone.

Invariant: a column is made from its field's type or from `@figure_column`, so that no page formats a figure of its own. It asks
the database nothing: a tenant's zone is shown where the list has the tenant already.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from config.site import cells

_PLACES: Final = "_places_of_columns"


def figure_column(description: str, *, ordering: str | None = None) -> Callable[[Any], Any]:
    """Mark a method as a column of figures. It returns a Decimal (USD), a number, a text or None."""

    def mark(method: Any) -> Any:
        method.short_description, method.admin_order_field = description, ordering
        method.is_figure = True
        return method

    return mark


class Column:
    """One column of a list; equal to every other of its name, as Django compares columns of two calls."""

    prefix = ""

    def __init__(
        self, name: str, value_of: Callable[[Any], Any], *, title: str, ordering: str | None
    ) -> None:
        self.__name__ = f"{self.prefix}{name}"
        self.value_of = value_of
        self.short_description, self.admin_order_field = title, ordering

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Column) and other.__name__ == self.__name__

    def __hash__(self) -> int:
        return hash(self.__name__)


class FigureColumn(Column):
    """Amounts and counts. The stylesheet finds the column's head and cells by the prefix of its name."""

    prefix = "figure-"

    def __call__(self, row: Any) -> SafeString:
        places = row.__dict__.get(_PLACES, {}).get(self.__name__, cells.MOST_PLACES)
        return cells.figure(self.value_of(row), places=places)


class MomentColumn(Column):
    """Moments, with the tenant's time beside UTC."""

    prefix = "moment-"

    def __init__(self, name: str, *, title: str, tenant_path: str) -> None:
        super().__init__(name, lambda row: getattr(row, name), title=title, ordering=name)
        self.tenant_path = tenant_path

    def __call__(self, row: Any) -> SafeString | str:
        at: datetime | None = self.value_of(row)
        return cells.moment(at, zone=zone_beside(row, self.tenant_path)) if at else cells.NOTHING


class AlignedChangeList(ChangeList):
    """A list whose columns of money have one number of places each, found from the rows of the page."""

    def get_results(self, request: Any) -> None:
        super().get_results(request)
        self.prepare(list(self.result_list))
        for column in self.list_display:
            if isinstance(column, FigureColumn):
                places = cells.places_of(column.value_of(row) for row in self.result_list)
                for row in self.result_list:
                    row.__dict__.setdefault(_PLACES, {})[column.__name__] = places

    def prepare(self, rows: Sequence[Any]) -> None:
        """Ask at one time for what the columns of all rows show."""


def columns_of(model_admin: Any, names: Iterable[Any]) -> list[Any]:
    """Replace what is a figure or a moment by its column; the rest stays as it is."""
    return [_column(model_admin, name) if isinstance(name, str) else name for name in names]


def zone_beside(row: Any, tenant_path: str) -> str:
    """The zone of a row's tenant, if the row brought its tenant along."""
    for step in () if tenant_path == "pk" else tenant_path.split("__"):
        row = row._state.fields_cache.get(step) if row is not None else None
    return getattr(row, "timezone", "UTC")


def _column(model_admin: Any, name: str) -> Any:
    method: Any = getattr(model_admin, name, None)
    if getattr(method, "is_figure", False):
        return FigureColumn(name, method, title=method.short_description, ordering=method.admin_order_field)
    try:
        field = model_admin.model._meta.get_field(name)
    except FieldDoesNotExist:
        return name
    title = str(getattr(field, "verbose_name", name))
    if isinstance(field, models.DateTimeField):
        return MomentColumn(name, title=title, tenant_path=getattr(model_admin, "tenant_path", ""))
    is_number = isinstance(field, models.IntegerField | models.FloatField | models.DecimalField)
    if is_number and not field.choices and not field.primary_key:
        return FigureColumn(name, _plain(name), title=title, ordering=name)
    return name


def _plain(name: str) -> Callable[[Any], Any]:
    """A number of no known unit: a Decimal of a field is not money by itself, so its own digits are shown."""

    def value_of(row: Any) -> Any:
        value = getattr(row, name)
        return f"{value.normalize():,f}" if isinstance(value, Decimal) else value

    return value_of
