"""waitress, made safe for the open net."""
