"""Tables, figures and pages of a run's results."""
