"""Floor 6. Chapter `specialization`: boundaries, alignment and small gradients."""
