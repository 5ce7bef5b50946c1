"""The phases of the first run. Each module has

BUDGET             seconds on a device
items(run)         the names of what it does, in order
one(run, item)     does it: a row for the JSON, with `passed` if there is something to pass; an exception fails it
"""
