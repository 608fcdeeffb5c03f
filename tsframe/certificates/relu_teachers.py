"""Floor 6. Chapter `relu-teachers`: a ReLU network as teacher, and what it does to a student's signal."""
