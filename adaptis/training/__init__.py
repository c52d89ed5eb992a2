"""Training: losses, samples, the two stages, and the loop that runs them."""
