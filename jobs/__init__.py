"""Accept photos, queue them, process them and store the results."""
