"""Networks: the backbones and the heads' sizes for each problem."""
