"""What is alive during a step."""
