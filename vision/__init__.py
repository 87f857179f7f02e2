"""The parts that the stages are made of: labels, cars in a photo, rules between type and parts."""
