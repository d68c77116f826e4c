"""Training of policies: reward functions for RL trainers, and the training that `policy` runs."""
