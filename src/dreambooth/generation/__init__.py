"""Section 4: prompts x seeds -> pictures."""
