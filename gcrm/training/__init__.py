"""Training a reward model on preference pairs."""
