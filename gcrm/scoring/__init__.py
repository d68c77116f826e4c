"""From a reward model and data to score tables and goal states."""
