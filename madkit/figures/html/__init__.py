"""The report: one page that holds everything, for a colleague without madkit."""

from madkit.figures.html.report import write_report

__all__ = ["write_report"]
