"""Questions and answers from files: JSONL, CSV, or a folder of Hugging Face's datasets."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

GPU_QUESTIONS = Path(__file__).parent / "gpu_questions.jsonl"
FILES = (".jsonl", ".csv", ".parquet", ".arrow")
Rows = Iterable[tuple[int, Any]]  # number of the line or row, from 1, and what is there


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Questions and answers, the fields ``question`` and ``answer`` of each row.

    Args:
        path: a file ``*.jsonl``, ``*.csv``, ``*.parquet`` or ``*.arrow``; a folder of such files;
            or a folder that ``save_to_disk`` of datasets wrote, of which ``train`` is taken where
            it has splits.

    Raises:
        ValueError: nothing there, another kind of file, no examples, or a line without its fields;
            names the line.
    """
    pairs = [
        _pair(file, number, row) for file in _files(path) for number, row in _rows_checked(file)
    ]
    if not pairs:
        raise ValueError(f"{path} holds no examples")
    return pairs


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if path.suffix not in FILES:
            raise ValueError(
                f"{path} must be a file {', '.join('*' + kind for kind in FILES)}, or a folder of "
                "them as the package datasets saves it"
            )
        return [path]
    if (path / "dataset_dict.json").is_file():
        if not (path / "train").is_dir():
            raise ValueError(f"{path} has splits but none called train; name one: {path}/SPLIT")
        return _files(path / "train")
    state = path / "state.json"
    if state.is_file():
        try:
            return [path / str(one["filename"]) for one in _json(state)["_data_files"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{state} is not as the package datasets writes it") from error
    found = sorted(file for file in path.iterdir() if file.suffix in FILES)
    if not found:
        raise ValueError(f"{path} holds no file {', '.join('*' + kind for kind in FILES)}")
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON") from error


def _rows_checked(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        if path.suffix in (".parquet", ".arrow"):
            yield from _table_rows(path)
            return
        # utf-8-sig: the mark that some editors put first is no part of the text.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _csv_rows(file) if path.suffix == ".csv" else _json_rows(path, file)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV file ({error})") from error


def _csv_rows(file: Any) -> Rows:
    reader = csv.DictReader(file)
    for row in reader:
        yield reader.line_num, row


def _json_rows(path: Path, file: Any) -> Rows:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: no JSON ({error})") from error
        yield number, row


def _table_rows(path: Path) -> Rows:
    # Not the package datasets: it reads the same files by pyarrow and brings seven packages more.
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ValueError(f"{path} is read by the package pyarrow: make setup EXTRAS=dev,llm") from (
            error
        )
    try:
        if path.suffix == ".parquet":
            table = parquet.read_table(path)
        else:
            with arrow.memory_map(str(path)) as source:
                table = arrow.ipc.open_stream(source).read_all()
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:160]})") from error
    wanted = [name for name in ("question", "answer") if name in table.column_names]
    return enumerate(table.select(wanted).to_pylist(), start=1)


def _pair(path: Path, number: int, row: Any) -> tuple[str, str]:
    for name in ("question", "answer"):
        value = row.get(name) if isinstance(row, dict) else None
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{path}, line {number}: the field {name!r} is missing or empty")
    return row["question"].strip(), row["answer"].strip()
