"""Makes the demo's data set: register entries in a hand the tiny base has never seen."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from PIL import ImageFilter, ImageOps
from render import draw_text

DEMO_FONT = "dkg"  # Debian: fonts-dkg-handwriting
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
GIVEN_NAMES = [
    "Agnes",
    "Albert",
    "Anna",
    "August",
    "Bertha",
    "Carl",
    "Clara",
    "Conrad",
    "Dora",
    "Edith",
    "Emil",
    "Emma",
    "Ernst",
    "Eva",
    "Felix",
    "Frida",
    "Georg",
    "Greta",
    "Hanna",
    "Hugo",
    "Ida",
    "Jacob",
    "Johann",
    "Karin",
    "Klara",
    "Lena",
    "Ludwig",
    "Maria",
    "Martha",
    "Max",
    "Olga",
    "Otto",
    "Paul",
    "Rosa",
    "Walter",
]
SURNAMES = [
    "Adler",
    "Bauer",
    "Becker",
    "Berg",
    "Brandt",
    "Busch",
    "Dietz",
    "Engel",
    "Fischer",
    "Frank",
    "Graf",
    "Haas",
    "Hahn",
    "Holm",
    "Huber",
    "Jung",
    "Kaiser",
    "Keller",
    "Klein",
    "Koch",
    "Kraus",
    "Lang",
    "Lorenz",
    "Maurer",
    "Meyer",
    "Neumann",
    "Otten",
    "Peters",
    "Pohl",
    "Richter",
    "Roth",
    "Sauer",
    "Schmidt",
    "Schulz",
    "Stein",
    "Vogel",
    "Wagner",
    "Weber",
    "Winter",
    "Ziegler",
]


def sample_entry(rng: random.Random) -> str:
    """A date and a person, as in a parish register: ``12 March 1847 Greta Holm``."""
    date = f"{rng.randint(1, 28)} {rng.choice(MONTHS)} {rng.randint(1800, 1899)}"
    return f"{date} {rng.choice(GIVEN_NAMES)} {rng.choice(SURNAMES)}"


def sample_entries(rng: random.Random, count: int) -> list[str]:
    """Entries that all differ."""
    entries: dict[str, None] = {}
    while len(entries) < count:
        entries[sample_entry(rng)] = None
    return list(entries)


def write_split(rng: random.Random, texts: list[str], directory: Path, name: str, font: str) -> None:
    """Render the texts as 8-bit grey PNG files and list them in ``<name>.jsonl``."""
    (directory / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for index, text in enumerate(texts):
        file = f"images/{name}-{index:04d}.png"
        image, _ = draw_text(rng, text, font)
        blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
        ImageOps.posterize(blurred, 4).save(directory / file, optimize=True)  # 16 greys: a third of the size
        rows.append(json.dumps({"image": file, "text": text}))
    (directory / f"{name}.jsonl").write_text("\n".join(rows) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--train", type=int, default=400)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--font", default=DEMO_FONT)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    texts = sample_entries(rng, args.train + args.test)
    write_split(rng, texts[: args.train], args.output, "train", args.font)
    write_split(rng, texts[args.train :], args.output, "test", args.font)


if __name__ == "__main__":
    main()
