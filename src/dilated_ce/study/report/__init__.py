"""The report of a comparison: tables, pictures, and what they say in words."""

from dilated_ce.study.report.page import write_report

__all__ = ["write_report"]
