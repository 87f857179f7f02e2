"""The production server: waitress, with limits that make it safe on the internet."""
