"""Steps of the analysis of a photo beyond its parts and type: the turn, and damage."""
