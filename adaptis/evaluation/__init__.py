"""Scores by the official evaluators: PQ (panoptic), AP (instance) and mIoU (semantic).

Every score is a fraction from 0 to 1, NaN where the ground truth holds nothing to score.
"""
