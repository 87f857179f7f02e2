"""Run the command line `segment.py`: plan, process and resume."""
