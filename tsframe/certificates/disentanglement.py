"""Floor 6. Chapter `disentanglement`: factors that stay apart through passes and training."""
