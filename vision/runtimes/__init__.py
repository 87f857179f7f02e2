"""Adapters for the libraries that run the networks, behind one interface."""
