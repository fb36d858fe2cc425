"""A small page file of each kind, which the target ``pages`` spoils."""

from pathlib import Path

FOLDER = Path(__file__).parent / "documents"
DOCUMENTS = {file.name: file.read_text(encoding="utf-8") for file in sorted(FOLDER.iterdir())}
