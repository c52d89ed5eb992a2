"""Inference: the backbone once an image, the head once a point (Sections 4 and 5 of the paper)."""
