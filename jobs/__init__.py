"""Accept photos, queue them, run the work, remember the results."""
