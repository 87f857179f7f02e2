"""The work behind `segment.py`, the command line."""
