"""Questions and answers from files: JSON, JSONL, CSV, or a folder of Hugging Face's datasets."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datamodules.text_files import read_text, unix_lines

GPU_QUESTIONS = Path(__file__).parent / "gpu_questions.jsonl"
# Files that come with the project, by the name of a data source.
SHIPPED = {
    "gpu_questions": GPU_QUESTIONS,
    "course_questions": Path(__file__).parent / "course_questions.jsonl",
}
FILES = (".jsonl", ".csv", ".parquet", ".arrow")
FIELDS = ("question", "answer", "instruction", "input", "output")
NAMES = "the fields 'question' and 'answer', or 'instruction' and 'output' (and perhaps 'input'),"
Rows = Iterable[tuple[int, Any]]  # number of the line or row, from 1, and what is there


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Questions and answers, the fields ``question`` and ``answer`` of each row.

    Names count in capitals, too. Alpaca's ``instruction``, with ``input`` on a line below it, and
    ``output`` are taken where there is no ``question``. CSV is cut at commas, semicolons or tabs,
    whichever the header has most of. A ``*.json`` file, which
    must be named itself, holds a list of objects. Line ends of Windows become ``\\n``.

    Args:
        path: a file ``*.jsonl``, ``*.json``, ``*.csv``, ``*.parquet`` or ``*.arrow``; a folder of
            such files; or a folder that ``save_to_disk`` of datasets wrote, of which ``train`` is
            taken where it has splits.

    Raises:
        ValueError: nothing there, another kind of file, no examples, or a line without its fields
            or with more or fewer than the header; names the line.
    """
    pairs = [
        _pair(file, number, row) for file in _files(path) for number, row in _rows_checked(file)
    ]
    if not pairs:
        raise ValueError(f"{path} holds no examples")
    return pairs


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if path.suffix.lower() not in (*FILES, ".json"):
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
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in FILES)
    if not found:
        raise ValueError(f"{path} holds no file {', '.join('*' + kind for kind in FILES)}")
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON") from error


def _rows_checked(path: Path) -> Iterator[tuple[int, Any]]:
    kind = path.suffix.lower()
    try:
        if kind in (".parquet", ".arrow"):
            yield from _table_rows(path)
            return
        text = read_text(path)
        yield from _csv_rows(path, text) if kind == ".csv" else _json_rows(path, text)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as CSV ({error})") from error


def _csv_rows(path: Path, text: str) -> Rows:
    # How long an answer may be is for the data module to say.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    header = next((row for row in reader if row), [])
    for row in reader:
        if row and len(row) != len(header):
            raise ValueError(
                f"{path}, line {reader.line_num}: {len(row)} fields, and the header has "
                f'{len(header)}; put quotation marks around a field that holds a "'
                f'{reader.dialect.delimiter}"'
            )
        if row:
            yield reader.line_num, dict(zip(header, row, strict=True))


def _delimiter(text: str) -> str:
    """Comma, semicolon or tab: the one that splits the header into most fields."""
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=header.count)


def _json_rows(path: Path, text: str) -> Rows:
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except ValueError:
            rows = None  # one list per line: _pair names the line
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            yield from enumerate(rows, start=1)
            return
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
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
        if path.suffix.lower() == ".parquet":
            table = parquet.read_table(path)
        else:
            with arrow.memory_map(str(path)) as source:
                table = arrow.ipc.open_stream(source).read_all()
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:160]})") from error
    wanted = [name for name in table.column_names if name.strip().lower() in FIELDS]
    return enumerate(table.select(wanted).to_pylist(), start=1)


def _pair(path: Path, number: int, row: Any) -> tuple[str, str]:
    if not isinstance(row, dict):
        raise ValueError(f"{path}, line {number}: {NAMES} are needed, found no fields")
    fields = {str(name).strip().lower(): value for name, value in row.items()}
    names = ("question", "answer")
    if "question" not in fields and "instruction" in fields:
        names = ("instruction", "output")
    for name in names:
        value = fields.get(name)
        if not isinstance(value, str) or not value.strip():
            found = ", ".join(map(repr, row)) or "none"
            raise ValueError(
                f"{path}, line {number}: the field {name!r} is missing or empty; {NAMES} are "
                f"needed, found are {found}"
            )
    question, answer = (unix_lines(fields[name]).strip() for name in names)
    more = fields.get("input") if names[0] == "instruction" else None
    if isinstance(more, str) and more.strip():
        question = f"{question}\n{unix_lines(more).strip()}"
    return question, answer
