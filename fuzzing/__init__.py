"""Fuzzing of what takes files and words of strangers: ``python -m fuzzing --help``."""
