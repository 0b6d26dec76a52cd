"""What all runs together say, and what is missing: tables over corpora, encoders and seeds, and one page.

`gather` finds the findings of one run, of a sweep, of every run, or those that are committed; `tables`
turns them into the report's tables, `missing` lists what has no result, `write_report` writes one
self-contained page and the tables as CSV.
"""

from emolib.report.findings import Finding, gather, missing
from emolib.report.page import write_report
from emolib.report.tables import over_seeds, spread, tables

__all__ = ["Finding", "gather", "missing", "over_seeds", "spread", "tables", "write_report"]
