"""The libraries that run the networks, behind one interface."""
