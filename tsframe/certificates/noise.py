"""Floor 6. Chapter `noise`: a mini-batch step as the recursion on the batch's own tables."""
