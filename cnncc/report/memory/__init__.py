"""What a network's arena holds, why it is as large as it is, and a picture of it."""

from cnncc.report.memory.facts import MemoryReport
from cnncc.report.memory.hints import hints
from cnncc.report.memory.page import page
from cnncc.report.memory.picture import svg
from cnncc.report.memory.report import report

__all__ = ["MemoryReport", "hints", "page", "report", "svg"]
