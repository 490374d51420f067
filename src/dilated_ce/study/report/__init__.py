"""The report of a comparison: tables, pictures, and what they say in words."""

from dilated_ce.study.report.page import Subject, write_comparison, write_report
from dilated_ce.study.report.pooled import write_pooled

__all__ = ["Subject", "write_comparison", "write_pooled", "write_report"]
