"""Floor 6. Chapter `batchnorm`: what normalisation does to activations, signals and weights."""
