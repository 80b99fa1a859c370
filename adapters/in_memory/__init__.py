"""Twins of the ports for unit tests: every promise kept, nothing outside this process."""
