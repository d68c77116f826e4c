"""The reward model: loading, heads, tokenization, and what one forward pass gives."""
