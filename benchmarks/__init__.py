"""What the claims of speed rest on: each script times ours and the plain method in one run."""
