"""Building blocks of the stages: labels, image files, networks, rules between type and parts."""
