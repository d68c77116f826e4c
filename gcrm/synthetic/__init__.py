"""The made world of the default run: word problems and a tiny language model."""
