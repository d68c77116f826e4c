"""Generating with a language model: sampling, and filters while it samples."""
