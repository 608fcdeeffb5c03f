"""Floor 6. Chapter `winners`: who wins a teacher node, and what becomes of the others."""
