"""What a network's arena holds, why it is as large as it is, and a picture of it."""

from cnncc.memory.facts import Report
from cnncc.memory.hints import hints
from cnncc.memory.page import page
from cnncc.memory.picture import svg
from cnncc.memory.report import report

__all__ = ["Report", "hints", "page", "report", "svg"]
