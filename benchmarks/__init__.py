"""What is claimed of speed, memory and servers, each claim as a command: ``python -m benchmarks.NAME --help``."""
