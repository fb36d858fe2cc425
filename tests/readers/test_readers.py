"""Every format yields the same rows, and whatever is wrong is a problem of its row or one clear line."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from shared_data import DATA, needs_shared

from glm_ocr_finetune.errors import UserError
from glm_ocr_finetune.inputs.images import read_size
from glm_ocr_finetune.readers import COLUMNS, PROBLEMS, list_splits, load_rows

TEXTS = ["amber", "007", "NA", "two\nlines, and a comma"]


def records(image: str = "image", text: str = "text", prefix: str = "images/") -> list[dict[str, Any]]:
    return [{image: f"{prefix}{index}.png", text: value} for index, value in enumerate(TEXTS)]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def conversation(image: Any, answer: str, question: str = "<image>Read:") -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "images": image if isinstance(image, list) else [image]}


def embedded_table(folder: Path) -> Any:
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    images = [{"bytes": (folder / "images" / f"{i}.png").read_bytes(), "path": None} for i in range(len(TEXTS))]
    features = Features({"image": ImageFeature(), "text": Value("string")})
    return Dataset.from_dict({"image": images, "text": TEXTS}, features=features)


def make_manifest(folder: Path) -> Path:
    write_lines(folder / "manifest.jsonl", records())
    write_lines(folder / "pages.jsonl", [{"other": 1}])
    return folder


def make_metadata_csv(folder: Path) -> Path:
    write_csv(folder / "metadata.csv", records("file_name"))
    return folder


def make_metadata_in_train(folder: Path) -> Path:
    (folder / "images").rename(folder / "train")
    write_lines(folder / "train" / "metadata.jsonl", records("file_name", prefix=""))
    return folder


def make_json_list(folder: Path) -> Path:
    (folder / "data.json").write_text("\ufeff" + json.dumps(records(), indent=1), encoding="utf-8")
    return folder / "data.json"


def make_absolute_paths(folder: Path) -> Path:
    return write_lines(folder / "rows.jsonl", records(prefix=f"{folder}/images/"))


def make_semicolons(folder: Path) -> Path:
    return write_csv(folder / "rows.csv", records("Image_Path", "Transcription"), ";")


def make_tsv(folder: Path) -> Path:
    return write_csv(folder / "rows.tsv", records("path", "label"), "\t")


def make_sharegpt(folder: Path) -> Path:
    rows = [conversation(f"images/{index}.png", text, "<image>") for index, text in enumerate(TEXTS)]
    (folder / "sharegpt.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def make_old_sharegpt(folder: Path) -> Path:
    rows = [
        {
            "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": text}],
            "images": [f"images/{index}.png"],
        }
        for index, text in enumerate(TEXTS)
    ]
    return write_lines(folder / "chats.jsonl", rows)


def make_parquet(folder: Path) -> Path:
    embedded_table(folder).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def make_parquet_folder(folder: Path) -> Path:
    (folder / "data").mkdir()
    embedded_table(folder).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


def make_parquet_of_paths(folder: Path) -> Path:
    from datasets import Dataset

    Dataset.from_list(records("img", "ground_truth")).to_parquet(folder / "rows.parquet")
    return folder


def make_saved(folder: Path) -> Path:
    embedded_table(folder).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def make_saved_dict(folder: Path) -> Path:
    from datasets import DatasetDict

    DatasetDict({"train": embedded_table(folder)}).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def make_arrow(folder: Path) -> Path:
    return next(make_saved(folder).glob("*.arrow"))


def make_lists_of_one(folder: Path) -> Path:
    from datasets import Dataset, Features, List, Value
    from datasets import Image as ImageFeature

    images = [[{"bytes": (folder / "images" / f"{i}.png").read_bytes(), "path": None}] for i in range(len(TEXTS))]
    features = Features({"images": List(ImageFeature()), "text": Value("string")})
    Dataset.from_dict({"images": images, "text": TEXTS}, features=features).to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def make_text_pairs(folder: Path) -> Path:
    for index, text in enumerate(TEXTS):
        (folder / "images" / f"{index}.gt.txt").write_text(text + "\n", encoding="utf-8")
    return folder


FORMATS = [value for name, value in sorted(globals().items()) if name.startswith("make_")]


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__.removeprefix("make_"))
def test_every_format_yields_the_same_rows(make: Callable[[Path], Path], folder: Path) -> None:
    path = make(folder)
    rows = load_rows(str(path), split="train")
    assert rows.column_names == list(COLUMNS)
    assert list_splits(str(path)) == ["train"]
    assert rows["text"][:] == TEXTS
    assert rows["prompt"][:] == [None] * 4
    assert rows["problem"][:] == [None] * 4
    assert [read_size(image) for image in rows["image"]] == [(30, 40)] * 4
    assert all(image["bytes"] or Path(image["path"]).is_absolute() for image in rows["image"])


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__.removeprefix("make_"))
def test_reading_twice_yields_the_same(make: Callable[[Path], Path], folder: Path) -> None:
    path = str(make(folder))
    assert load_rows(path, split="train").to_list() == load_rows(path, split="train").to_list()


def test_sources_are_lines_from_1_blank_ones_counted(folder: Path) -> None:
    lines = [json.dumps(row) for row in records()]
    (folder / "manifest.jsonl").write_text("\n\n".join(lines))
    rows = load_rows(str(folder), split="train")
    assert rows["source"][:] == [f"manifest.jsonl:{line}" for line in (1, 3, 5, 7)]


def test_sources_of_csv_are_first_lines_of_rows(folder: Path) -> None:
    write_csv(folder / "rows.csv", [records()[3], records()[0]])
    assert load_rows(str(folder / "rows.csv"), split="train")["source"][:] == ["rows.csv:2", "rows.csv:4"]


def test_sources_of_tables_are_indices(folder: Path) -> None:
    assert load_rows(str(make_parquet(folder)), split="train")["source"][:] == [f"train:{i}" for i in range(4)]


def test_numbers_are_labels_and_null_is_none(folder: Path) -> None:
    labels = [0, 12, 3.5, None, True, ["a"], "text"]
    rows = [{"image": "images/0.png", "label": label} for label in labels]
    read = load_rows(str(write_lines(folder / "rows.jsonl", rows)), split="train")
    assert read["text"][:] == ["0", "12", "3.5", None, None, None, "text"]
    assert read["problem"][:] == [None, None, None, "empty_label", "label_not_text", "label_not_text", None]
    assert read["detail"][:] == [None, None, None, None, "True", "['a']", None]


def test_numbers_in_parquet_are_labels(folder: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"image": ["images/0.png"] * 3, "label": [0, None, 12]}).to_parquet(folder / "rows.parquet")
    assert load_rows(str(folder), split="train")["text"][:] == ["0", None, "12"]


def test_bad_lines_are_rows_with_a_problem(folder: Path) -> None:
    good = json.dumps({"image": "images/0.png", "text": "good"})
    surrogate = '{"image": "images/0.png", "text": "\\ud800"}'
    nul = '{"image": "images/0.png", "text": "a\\u0000b"}'
    bad_path = '{"image": "images/\\ud800.png", "text": "x"}'
    (folder / "rows.jsonl").write_text("\n".join([good, "{broken", "[1]", surrogate, nul, bad_path, good[:-1]]))
    rows = load_rows(str(folder / "rows.jsonl"), split="train")
    assert rows["problem"][:] == [
        None,
        "invalid_record",
        "invalid_record",
        "invalid_text",
        "invalid_text",
        "invalid_path",
        "invalid_record",
    ]
    assert rows["detail"][1:3] == [
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        "'[1]' is not an object",
    ]


def test_paths_stay_inside_the_data_set(folder: Path) -> None:
    secret = folder.parent / "secret.png"
    shutil.copy(folder / "images" / "0.png", secret)
    names = ["../secret.png", str(secret), "images/../../secret.png", "images/../images/0.png", "/etc/passwd"]
    names += ["https://example.org/a.png", "file:///etc/passwd", "", "images/9.png", "//nowhere/at/all.png"]
    rows = [{"image": name, "text": "x"} for name in names]
    outside = "path_outside_data_set"
    expected = [outside, outside, outside, None, outside, "image_is_url", outside, "no_image"]
    expected += ["missing_image", "missing_image"]
    path = write_lines(folder / "rows.jsonl", rows)
    assert load_rows(str(path), split="train")["problem"][:] == expected
    opened = load_rows(str(path), split="train", image_folder=str(folder.parent))
    assert opened["problem"][:5] == [None, None, None, None, outside]


def test_metadata_of_a_split_folder_may_name_images_beside_it(folder: Path) -> None:
    write_lines(folder / "train" / "metadata.jsonl", records("file_name", prefix="../images/"))
    rows = load_rows(str(folder), split="train")
    assert rows["problem"][:] == [None] * 4
    assert rows["source"][0] == "train/metadata.jsonl:1"


def test_parquet_paths_are_confined_too(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features, Value
    from datasets import Image as ImageFeature

    schema = Features({"image": ImageFeature(), "text": Value("string")}).arrow_schema
    images = [{"bytes": None, "path": "/etc/passwd"}, {"bytes": None, "path": "images/1.png"}]
    pq.write_table(pa.table({"image": images, "text": ["a", "b"]}, schema=schema), folder / "rows.parquet")
    assert load_rows(str(folder), split="train")["problem"][:] == ["path_outside_data_set", None]


def test_rows_without_embedded_image_among_others(folder: Path) -> None:
    table = embedded_table(folder).to_list()
    table[1]["image"] = None
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "text": Value("string")})
    Dataset.from_list(table, features=features).to_parquet(folder / "rows.parquet")
    rows = load_rows(str(folder), split="train")
    assert rows["problem"][:] == [None, "no_image", None, None]
    assert rows["text"][:] == TEXTS


def test_missing_images_are_looked_for_again(folder: Path) -> None:
    path = str(write_lines(folder / "rows.jsonl", [{"image": "images/9.png", "text": "x"}]))
    rows = load_rows(path, split="train")
    assert rows["problem"][:] == ["missing_image"]
    assert rows["image"][0]["path"] == str(folder / "images" / "9.png")
    shutil.copy(folder / "images" / "0.png", folder / "images" / "9.png")
    assert load_rows(path, split="train")["problem"][:] == [None]


def test_a_changed_file_is_read_again(folder: Path) -> None:
    path = write_lines(folder / "rows.jsonl", records())
    load_rows(str(path), split="train")
    write_lines(path, records()[:2])
    assert len(load_rows(str(path), split="train")) == 2


def test_unchanged_files_are_not_parsed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from glm_ocr_finetune.readers import rows as rows_module

    path = str(write_lines(folder / "rows.jsonl", records()))
    first = load_rows(path, split="train")
    monkeypatch.setattr(rows_module, "_write", lambda rows, path: pytest.fail("written again"))
    second = load_rows(path, split="train")
    assert first._fingerprint == second._fingerprint


def test_sharegpt_problems(folder: Path) -> None:
    two_turns = conversation("images/0.png", "x")
    two_turns["messages"] = two_turns["messages"] * 2
    system = conversation("images/0.png", "x")
    system["messages"].insert(0, {"role": "system", "content": "Be brief."})
    rows = [
        conversation("images/0.png", "good"),
        conversation(["images/0.png", "images/1.png"], "x"),
        conversation([], "x"),
        two_turns,
        system,
        conversation("images/0.png", "x", "<image><image>"),
        {"messages": "hello", "images": ["images/0.png"]},
    ]
    read = load_rows(str(write_lines(folder / "chats.jsonl", rows)), split="train")
    assert read["problem"][:] == [
        None,
        "several_images",
        "no_image",
        "several_turns",
        "system_message",
        "several_images",
        "invalid_record",
    ]
    assert (read[0]["prompt"], read[0]["text"]) == ("Read:", "good")
    assert set(read["problem"][1:]) <= set(PROBLEMS)


def test_chat_parts_in_parquet(folder: Path) -> None:
    from datasets import Dataset

    user = [{"type": "image", "text": None}, {"type": "text", "text": "Read:"}]
    answer = [{"type": "text", "text": "amber"}]
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    Dataset.from_dict({"messages": [messages], "images": [["images/0.png"]]}).to_parquet(folder / "rows.parquet")
    row = load_rows(str(folder), split="train")[0]
    assert (row["prompt"], row["text"], row["problem"]) == ("Read:", "amber", None)


def test_sharegpt_looks_for_images_elsewhere_and_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lines(folder / "chats.jsonl", [conversation(f"other/{index}.png", "x") for index in range(3)])
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "glm_ocr_finetune"):
            rows = load_rows(str(path), split="train")
        assert rows["problem"][:] == [None] * 3
        assert rows["image"][1]["path"] == str(folder / "images" / "1.png")
        assert [
            record.getMessage().startswith("3 image paths do not exist as written") for record in caplog.records
        ] == [True]


def test_one_file_name_for_two_images_is_ambiguous(folder: Path) -> None:
    rows = [conversation("a/0.png", "x"), conversation("b/0.png", "y"), conversation("../0.png", "z")]
    problems = load_rows(str(write_lines(folder / "chats.jsonl", rows)), split="train")["problem"][:]
    assert problems == [None, "ambiguous_image", "path_outside_data_set"]


def test_prompt_column(folder: Path) -> None:
    rows = [{**row, "prompt": prompt} for row, prompt in zip(records(), ["Read:", "", None, "Table:"], strict=True)]
    assert load_rows(str(write_lines(folder / "a.jsonl", rows)), split="train")["prompt"][:] == [
        "Read:",
        None,
        None,
        "Table:",
    ]


@pytest.mark.parametrize("names", [("train.jsonl", "test.jsonl"), ("my_train.csv", "my-val-2.csv"), ("train", "dev")])
def test_splits_by_name(names: tuple[str, str], folder: Path) -> None:
    for name, rows in zip(names, (records(), records()[:1]), strict=True):
        if name.endswith(".csv"):
            write_csv(folder / name, rows)
        elif name.endswith(".jsonl"):
            write_lines(folder / name, rows)
        else:
            write_lines(folder / name / "manifest.jsonl", [{**row, "image": "../" + row["image"]} for row in rows])
    second = "test" if "test" in names[1] else "validation"
    assert sorted(list_splits(str(folder))) == sorted(["train", second])
    assert len(load_rows(str(folder), split="train")) == 4
    assert len(load_rows(str(folder), split="val" if second == "validation" else second)) == 1
    with pytest.raises(UserError, match=f"no split 'nope'; its splits: .*{second}.* --eval_split"):
        load_rows(str(folder), split="nope")


def test_slices_and_sums_of_splits(folder: Path) -> None:
    write_lines(folder / "train.jsonl", records())
    write_lines(folder / "test.jsonl", records())
    assert load_rows(str(folder), split="train[1:3]")["text"][:] == TEXTS[1:3]
    assert len(load_rows(str(folder), split="train[:50%]+test")) == 6
    with pytest.raises(UserError, match="cannot be understood"):
        load_rows(str(folder), split="train[x")


def test_misspelt_columns(folder: Path) -> None:
    path = str(write_lines(folder / "rows.jsonl", records(text="label")))
    with pytest.raises(
        UserError, match=r"no column 'labl' \(--text_column\); its columns: image, label. Did you mean 'label'"
    ):
        load_rows(path, split="train", text_column="labl")
    with pytest.raises(UserError, match=r"no column 'pictures' \(--image_column\); its columns: image, label\.$"):
        load_rows(path, split="train", image_column="pictures")


def test_unknown_columns(folder: Path) -> None:
    with pytest.raises(UserError, match="no text column that is known; its columns: image, zzz. .*--text_column"):
        load_rows(str(write_lines(folder / "a.jsonl", records(text="zzz"))), split="train")
    with pytest.raises(UserError, match="no image column that is known; its columns: zzz, text. .*--image_column"):
        load_rows(str(write_lines(folder / "b.jsonl", records(image="zzz"))), split="train")


def test_named_columns_win(folder: Path) -> None:
    rows = [{"picture": "images/0.png", "image": "images/1.png", "text": "a", "mine": "b"}]
    path = str(write_lines(folder / "rows.jsonl", rows))
    row = load_rows(path, split="train", image_column="picture", text_column="mine")[0]
    assert (row["text"], Path(row["image"]["path"]).name) == ("b", "0.png")


def test_the_choice_between_text_columns_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_lines(folder / "rows.jsonl", [{"image": "images/0.png", "text": "a", "label": "b"}])
    assert load_rows(str(path), split="train")["text"][:] == ["b"]
    assert "reading the transcription from 'label', not text (--text_column)" in caplog.text


def test_class_ids_are_no_transcriptions(folder: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"image": Value("string"), "label": ClassLabel(names=["cat", "dog"])})
    data = {"image": ["images/0.png", "images/1.png"], "label": [1, 0]}
    Dataset.from_dict(data, features=features).to_parquet(folder / "rows.parquet")
    with pytest.raises(UserError, match="class ids in 'label', not transcriptions"):
        load_rows(str(folder), split="train")
    assert load_rows(str(folder), split="train", text_column="label")["text"][:] == ["dog", "cat"]


def test_images_alone_are_not_a_data_set(folder: Path) -> None:
    with pytest.raises(
        UserError,
        match="holds nothing to read: 4 images in images, but no text beside any of them; expected metadata.csv",
    ):
        load_rows(str(folder), split="train")


@pytest.mark.parametrize(
    "name", ["nowhere/at/all", "./nowhere", "rows.jsonl", "set.zip", "a.tar", "~/nowhere-at-all/x"]
)
def test_no_such_path(name: str) -> None:
    with pytest.raises(UserError, match=f"no file or folder '{name}'"):
        load_rows(name, split="train")


def test_no_such_hub_data_set() -> None:
    with pytest.raises(
        UserError, match="no data set 'nobody/nothing'.*hf download --repo-type dataset nobody/nothing"
    ) as e:
        load_rows("nobody/nothing", split="train")
    assert "\n" not in str(e.value)
    with pytest.raises(UserError, match="no data set 'nobody/nothing'"):
        list_splits("nobody/nothing")


def test_hub_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    tables = {"held": embedded_table(folder), "named": datasets.Dataset.from_list(records())}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config, split: tables[name])
    rows = load_rows("held", split="test")
    assert rows["text"][:] == TEXTS
    assert rows["source"][0] == "test:0"
    with pytest.raises(UserError, match="names image files in its column 'image'.*hf download"):
        load_rows("named", split="train")
    assert load_rows("named", split="train", image_folder=str(folder))["problem"][:] == [None] * 4


def test_hub_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ValueError('Unknown split "x".\nShould be one of [train].')

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError, match=r'Unknown split "x"\. Should be one of \[train\]'):
        load_rows("some/thing", split="x")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv", "rows.parquet", "rows.arrow"])
def test_empty_and_broken_files(name: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"rows\.[a-z]+ (holds no rows|cannot be read)"):
        load_rows(str(path), split="train")
    path.write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(UserError, match=r"rows\.[a-z]+ (holds no rows|cannot be read|is not UTF-8)"):
        load_rows(str(path), split="train")


@pytest.mark.parametrize("row_groups", [0, 1])
def test_empty_table(folder: Path, row_groups: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    nothing = pa.array([], pa.string())
    batch = pa.record_batch([nothing, nothing], names=["image", "text"])
    with pq.ParquetWriter(folder / "rows.parquet", batch.schema) as writer:
        for _ in range(row_groups):
            writer.write_batch(batch)
    with pytest.raises(UserError, match=r"rows\.parquet holds no rows"):
        load_rows(str(folder), split="train")
    (folder / "head.csv").write_text("image,text\n")
    with pytest.raises(UserError, match="holds no rows"):
        load_rows(str(folder / "head.csv"), split="train")


def test_broken_json_list(folder: Path) -> None:
    (folder / "a.json").write_text('[{"image": "images/0.png", "text": "a"}, {"image": ')
    with pytest.raises(UserError, match="item 2 of the list is not JSON"):
        load_rows(str(folder / "a.json"), split="train")


def test_tables_of_several_kinds(folder: Path) -> None:
    write_lines(folder / "a.jsonl", records())
    write_csv(folder / "b.csv", records())
    with pytest.raises(UserError, match=r"several kinds \(a.jsonl, b.csv\)"):
        load_rows(str(folder), split="train")


def test_config_and_image_folder_must_exist(folder: Path) -> None:
    make_manifest(folder)
    with pytest.raises(UserError, match="--dataset_config x: .* no such sub-folder"):
        load_rows(str(folder), split="train", config="x")
    with pytest.raises(UserError, match="--image_folder: there is no folder"):
        load_rows(str(folder), split="train", image_folder=str(folder / "x"))
    assert len(load_rows(str(folder.parent), split="train", config="set")) == 4


def test_text_pairs(folder: Path) -> None:
    make_text_pairs(folder)
    (folder / "images" / "8.gt.txt").write_bytes(b"\xff\xff")
    Image.new("L", (9, 9)).save(folder / "images" / "8.tif")
    (folder / "images" / "9.gt.txt").write_text("x")
    rows = load_rows(str(folder), split="train")
    assert rows["problem"][:] == [None] * 4 + ["invalid_text", "missing_image"]
    assert rows["source"][0] == "images/0.gt.txt"


def test_nothing_is_written_into_the_data_set(folder: Path) -> None:
    path = make_saved(folder)
    before = sorted(folder.rglob("*"))
    load_rows(str(path), split="train")
    assert sorted(folder.rglob("*")) == before


def test_embedded_images_are_not_copied_to_the_cache(folder: Path, datasets_cache: Path) -> None:
    load_rows(str(make_saved(folder)), split="train")
    stored = b"".join(file.read_bytes() for file in datasets_cache.rglob("*.arrow"))
    assert b"PNG" not in stored


def test_rows_can_be_pickled(folder: Path) -> None:
    import pickle

    rows = load_rows(str(make_manifest(folder)), split="train")
    assert pickle.loads(pickle.dumps(rows)).to_list() == rows.to_list()


@needs_shared
@pytest.mark.parametrize(
    ("name", "count"),
    [("formulas-im2markup", 240), ("multiscript-lines-rapidocr", 12), ("page-xml-kraken", 2), ("receipts-sroie", 40)],
)
def test_shared_sets(name: str, count: int) -> None:
    rows = load_rows(str(DATA / name), split="train")
    assert len(rows) == count
    assert set(rows["problem"]) == {None}
    assert all(rows["text"])


@needs_shared
def test_the_official_example() -> None:
    folder = DATA / "chemical-cosyn-glmocr"
    chats = load_rows(str(folder / "sharegpt.json"), split="train").to_list()
    manifest = load_rows(str(folder), split="train").to_list()
    assert [row | {"source": ""} for row in chats] == [row | {"source": ""} for row in manifest]
    assert chats[0]["prompt"] == "Code Generation:"
    assert chats[0]["source"] == "sharegpt.json:1"


@needs_shared
def test_kraken_pair(tmp_path: Path) -> None:
    for name in ("000236.png", "000236.gt.txt"):
        shutil.copy(DATA / "page-xml-kraken" / name, tmp_path)
    row = load_rows(str(tmp_path), split="train")[0]
    assert row["text"].startswith("ܠܐ ܡܕܡ")
    assert row["source"] == "000236.gt.txt"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (["table", "tabel", "Formula", "tabel"], "the column task names no task in some rows: 'tabel' (2 rows); they"),
        (["table", "", None, " json "], None),
        (["train", "test", "ocr", "ocr"], None),
    ],
)
def test_tasks_that_may_be_mistyped_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, tasks: list[str | None], said: str | None
) -> None:
    from datasets import Dataset

    (tmp_path / "images").mkdir()
    rows = [row | {"task": task} for row, task in zip(records(), tasks, strict=True)]
    file = write_lines(tmp_path / f"rows.{kind}", rows)
    if kind == "parquet":
        Dataset.from_list(rows).to_parquet(file)
    with caplog.at_level(logging.WARNING, logger="glm_ocr_finetune"):
        load_rows(str(file), split="train")
    found = [record.message for record in caplog.records if "names no task" in record.message]
    assert len(found) == (said is not None)
    assert all(str(said) in message for message in found)
