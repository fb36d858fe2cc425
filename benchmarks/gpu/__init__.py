"""What this project does on a GPU, proven in one command of thirteen minutes at most: see ``docs/gpu.md``."""
