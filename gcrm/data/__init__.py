"""The data of a run: preference pairs, completions, score tables, and how they are fetched."""
