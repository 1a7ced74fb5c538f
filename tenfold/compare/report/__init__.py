"""The comparison as one HTML file that needs nothing beside it: no network, no script."""

from tenfold.compare.report.page import write_report

__all__ = ["write_report"]
