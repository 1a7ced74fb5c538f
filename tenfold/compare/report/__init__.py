"""The comparison as one HTML file that needs nothing beside it: no network, and no script but one that sorts."""

from tenfold.compare.report.page import is_report, write_report

__all__ = ["is_report", "write_report"]
