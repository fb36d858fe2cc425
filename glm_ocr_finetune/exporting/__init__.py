"""A tuned model as an engine loads it, proven by reading with the files."""
