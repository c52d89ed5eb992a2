"""The baseline of Section 6: GluonCV's Mask R-CNN on the toy problem, and Table 1 with both."""
