"""The month as FOCUS files (https://focus.finops.org): versions 1.0, 1.2, 1.3 and 1.4, as CSV and Parquet.

It owns what is in such files: `rows` makes the charges, `invoices` the period and the invoice's details, `profiles` says which
columns each version has, `writing` writes them. It does not own figures: `report` does.
"""

from billing.months.exports.focus.profiles import DEFAULT, PROFILES, DataSet
from billing.months.exports.focus.rows import publishers
from billing.months.exports.focus.writing import write_csv, write_parquet

__all__ = ["DEFAULT", "PROFILES", "DataSet", "publishers", "write_csv", "write_parquet"]
