"""Questions and answers: what is learned of them, packing, and files that are wrong."""

import json
from pathlib import Path

import pytest
import torch

from datamodules import BPETokenizer, InstructionDataModule
from datamodules.pairs import GPU_QUESTIONS, read_pairs
from datamodules.windows import IGNORED
from inference.text.tokenizer import Tokenizer


def data_of(base: Path, **kwargs) -> InstructionDataModule:
    data = InstructionDataModule(**{"tokenizer": str(base), "context": 160, **kwargs})
    data.setup("fit")
    return data


def test_the_shipped_set_is_large_enough_and_asks_nothing_twice() -> None:
    pairs = read_pairs(GPU_QUESTIONS)
    assert len(pairs) >= 60
    assert len({question for question, _ in pairs}) == len(pairs)


def test_only_answers_and_their_end_are_learned(gpt2_base: Path) -> None:
    data = data_of(gpt2_base)
    tokenizer = BPETokenizer.from_pretrained(str(gpt2_base))
    ids, targets = data._splits["val"]
    assert len(ids) == len(data.held_out) == 8
    for row, (question, answer) in enumerate(data.held_out):
        prompt = tokenizer.encode(f"Question: {question}\nAnswer:").tolist()
        wanted = [*tokenizer.encode(f" {answer}").tolist(), tokenizer.end]
        whole = prompt + wanted
        # The obvious way: the token after each place, where that is of the answer.
        for place in range(160):
            expected = whole[place] if place < len(whole) else tokenizer.end
            assert ids[row, place] == expected
            is_answer = len(prompt) <= place + 1 < len(whole)
            assert targets[row, place] == (whole[place + 1] if is_answer else IGNORED)


def test_a_packed_row_holds_the_examples_of_several(gpt2_base: Path) -> None:
    plain, packed = data_of(gpt2_base), data_of(gpt2_base, pack=True)
    ids, targets, segments = packed._splits["train"]
    assert len(ids) < len(plain._splits["train"][0])
    assert len(packed._splits["val"]) == 2
    learned = [
        row[row != IGNORED].tolist() for row in plain._splits["train"][1]
    ]  # of each example alone
    found = []
    for row in range(len(ids)):
        for number in range(1, int(segments[row].max()) + 1):
            inside = segments[row] == number
            assert inside.nonzero().diff(dim=0).eq(1).all()  # in one piece
            of_example = targets[row][inside]
            assert of_example[-1] == IGNORED  # nothing learns the next example's first token
            found.append(of_example[of_example != IGNORED].tolist())
        assert (targets[row][segments[row] == 0] == IGNORED).all()
    assert found == learned


def test_the_split_comes_from_the_seed(gpt2_base: Path) -> None:
    first, again, other = (data_of(gpt2_base, seed=seed) for seed in (0, 0, 1))
    assert first.held_out == again.held_out != other.held_out
    assert torch.equal(first._splits["train"][0], again._splits["train"][0])
    assert data_of(gpt2_base, val_size=0).val_dataloader() == []


def test_the_numbers_of_tokens_are_told(gpt2_base: Path, caplog) -> None:
    caplog.set_level("INFO")
    data = data_of(gpt2_base)
    answers = int((data._splits["val"][1] != IGNORED).sum())
    assert "val: 8 examples in 8 rows of 160, " in caplog.text
    assert f"{answers:,} of them answers" in caplog.text


def test_too_long_examples(gpt2_base: Path, caplog) -> None:
    caplog.set_level("INFO")
    with pytest.raises(ValueError, match=r"of 140 examples are longer than 80 tokens \(the "):
        data_of(gpt2_base, context=80)
    skipped = data_of(gpt2_base, context=80, too_long="skip")
    assert "examples are longer than 80 tokens: 0 cut, " in caplog.text
    cut = data_of(gpt2_base, context=80, too_long="cut")
    assert len(cut._splits["train"][0]) > len(skipped._splits["train"][0])
    assert len(skipped.held_out) == len(skipped._splits["val"][0]) == 8
    # A cut answer has no end: its row is full, and the last target is of the answer.
    ids, targets = cut._splits["train"]
    full = targets[:, -2] != IGNORED
    assert full.any()
    assert (ids[full, -1] != cut.tokenizer.end).any()
    with pytest.raises(ValueError, match="no example of gpu_questions fits into 5 tokens"):
        data_of(gpt2_base, context=5, too_long="cut")


ROWS = [{"question": f"What is {n}?", "answer": f"The number {n}."} for n in range(4)]
PAIRS = [(row["question"], row["answer"]) for row in ROWS]


def write_lines(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS), encoding="utf-8-sig")


def test_jsonl_csv_and_folders_of_them(workplace: Path) -> None:
    write_lines(workplace / "a.jsonl")
    assert read_pairs(workplace / "a.jsonl") == PAIRS
    (workplace / "b.csv").write_text('answer,question,more\n" One, two ",What?,x\n')
    assert read_pairs(workplace / "b.csv") == [("What?", "One, two")]
    (workplace / "configs").unlink()
    assert read_pairs(workplace) == [*PAIRS, ("What?", "One, two")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "question;answer\n What? ;One, two\n"),
        ("a.csv", "\n\nquestion\tanswer\nWhat?\tOne, two\n\n"),
        ("A.CSV", 'Question, Answer\r\n"What?","One, two"\r\n'),
        ("a.jsonl", '[{"question": "What?", "answer": "One, two"}]'),
        ("a.json", '[\n  {"Question": "What?", "Answer": "One, two"}\n]'),
        ("a.jsonl", '{"instruction": "What?", "input": "", "output": "One, two"}'),
    ],
)
def test_rows_as_people_have_them(workplace: Path, name: str, content: str) -> None:
    (workplace / name).write_bytes(content.encode())
    assert read_pairs(workplace / name) == [("What?", "One, two")]
    (workplace / name).write_bytes(content.encode("utf-16"))
    assert read_pairs(workplace / name) == [("What?", "One, two")]


def test_alpacas_input_and_line_ends_of_windows(workplace: Path) -> None:
    row = {"instruction": "Add.", "input": "1\r\n2", "output": "3\r\n"}
    (workplace / "a.jsonl").write_text(json.dumps(row))
    assert read_pairs(workplace / "a.jsonl") == [("Add.\n1\n2", "3")]


def test_a_field_of_any_length_reaches_too_long(gpt2_base: Path, workplace: Path) -> None:
    (workplace / "a.csv").write_text(f"question,answer\nA?,{'x' * 140_000}\nB?,y\nC?,z\n")
    with pytest.raises(ValueError, match="1 of 3 examples are longer than 160 tokens"):
        data_of(gpt2_base, source="a.csv", val_size=1)
    data = data_of(gpt2_base, source="a.csv", val_size=1, too_long="skip")
    assert len(data._splits["train"][0]) == 1


def test_equal_questions_are_in_one_split(gpt2_base: Path, workplace: Path, caplog) -> None:
    caplog.set_level("INFO")
    rows = [{"question": f"what is  {'abcd'[n % 4]}?", "answer": str(n)} for n in range(20)]
    rows[3]["question"] = "What is D?"
    (workplace / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = data_of(gpt2_base, source="a.jsonl", val_size=8)
    assert len(data.held_out) == 5
    assert len({question.lower().split()[-1] for question, _ in data.held_out}) == 1
    assert "16 of 20 examples repeat a question; equal ones are in one split, 5 are" in caplog.text
    assert len(data._splits["train"][0]) == 15
    with pytest.raises(ValueError, match=r"more than val_size=4 times.*val_size 5 or more"):
        data_of(gpt2_base, source="a.jsonl", val_size=4)


def test_a_tokenizers_truncation_and_padding_are_switched_off(
    gpt2_base: Path, workplace: Path
) -> None:
    document = json.loads((gpt2_base / "tokenizer.json").read_text())
    document["truncation"] = {
        "direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0
    }  # fmt: skip
    document["padding"] = {
        "strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
    }  # fmt: skip
    document["model"]["dropout"] = 0.5
    (workplace / "own").mkdir()
    (workplace / "own" / "tokenizer.json").write_text(json.dumps(document))
    cut, whole = data_of(workplace / "own"), data_of(gpt2_base)
    for mine, theirs in zip(cut._splits["train"], whole._splits["train"], strict=True):
        assert torch.equal(mine, theirs)
    text = "A question that is far longer than sixteen tokens are. " * 3
    expected = Tokenizer.of_pretrained(gpt2_base).encode(text)
    for tokenizer in (Tokenizer.of_pretrained(workplace / "own"), cut.tokenizer):
        assert list(tokenizer.encode(text)) == expected
        assert list(tokenizer.encode("x")) == Tokenizer.of_pretrained(gpt2_base).encode("x")
    assert cut.tokenizer.to_json() == whole.tokenizer.to_json()


def test_what_the_package_datasets_saves(workplace: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra [llm] is not installed")
    from pyarrow import parquet

    folder = workplace / "saved" / "train"  # as DatasetDict.save_to_disk lays it out
    folder.mkdir(parents=True)
    (workplace / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    names = [f"data-{piece:05}-of-00002.arrow" for piece in (0, 1)]
    for name, rows in zip(names, (ROWS[:2], ROWS[2:]), strict=True):
        table = arrow.Table.from_pylist(rows)
        with arrow.ipc.new_stream(str(folder / name), table.schema) as stream:
            stream.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "cache-123.arrow").write_text("no part of the set")
    assert read_pairs(workplace / "saved") == read_pairs(folder) == PAIRS

    parquet.write_table(arrow.Table.from_pylist(ROWS), workplace / "rows.parquet")
    assert read_pairs(workplace / "rows.parquet") == PAIRS
    parquet.write_table(arrow.Table.from_pylist([{"question": "x"}]), workplace / "rows.parquet")
    with pytest.raises(ValueError, match=r"rows.parquet, line 1: the field 'answer' is missing"):
        read_pairs(workplace / "rows.parquet")
    (folder / names[1]).write_text("damaged")
    with pytest.raises(ValueError, match=rf"{names[1]} is damaged"):
        read_pairs(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"question": "a", "answer": "b"}\n{"question": "c"}', "line 2: .*'answer'"),
        ("a.jsonl", '{"question": "a", "answer": " "}', "line 1: the field 'answer' is missing"),
        ("a.jsonl", '\n["a", "b"]', "line 2: the fields 'question' and .*found no fields"),
        ("a.jsonl", "{", "line 1: not JSON"),
        ("a.jsonl", "", "holds no examples"),
        ("a.csv", "question,answer\na,b\nc\n", "line 3: 1 fields, and the header has 2"),
        (
            "a.csv",
            "question,answer\nWhat is a GPU?,A processor, with many small cores.\n",
            'line 2: 3 fields, and the header has 2; put quotation marks around a field .* ","',
        ),
        (
            "a.csv",
            "Frage|Antwort\na|b\n",
            r"line 2: .*, found are 'Frage\|Antwort'",
        ),
        ("a.json", '[{"prompt": "a", "completion": "b"}]', "found are 'prompt', 'completion'"),
        ("a.txt", "a", r"must be a file \*.jsonl"),
        ("b.jsonl", "", "b.jsonl cannot be read: No such file"),
    ],
)
def test_wrong_files(workplace: Path, name: str, content: str, message: str) -> None:
    if name != "b.jsonl":
        (workplace / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_pairs(workplace / name)


def test_bytes_that_are_no_text(workplace: Path) -> None:
    (workplace / "a.csv").write_bytes(b"question,answer\na,\xff\n")
    with pytest.raises(ValueError, match=r"a.csv is not UTF-8"):
        read_pairs(workplace / "a.csv")
    (workplace / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no file"):
        read_pairs(workplace / "empty")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context": 0}, "context must be at least 1"),
        ({"val_size": -1}, "val_size must be 0 or more"),
        ({"template": "Answer:"}, "the template must hold"),
        ({"too_long": "no"}, "too_long must be error, skip or cut"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InstructionDataModule(**arguments)


def test_nothing_is_left_to_train_on(gpt2_base: Path) -> None:
    with pytest.raises(ValueError, match="val_size=140 leaves none of the 140 examples"):
        data_of(gpt2_base, val_size=140)
    with pytest.raises(ValueError, match="the tokenizer must be named"):
        InstructionDataModule().setup("fit")


def test_a_tokenizer_without_an_end_of_text_is_refused(gpt2_base: Path, workplace: Path) -> None:
    """GPT-2's has no token for padding, which its end of text stands in for."""
    document = json.loads((gpt2_base / "tokenizer.json").read_text())
    del document["model"]["vocab"]["<|endoftext|>"]
    document["added_tokens"] = []
    (workplace / "own").mkdir()
    (workplace / "own" / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"has no <\|endoftext\|>, which ends"):
        data_of(workplace / "own")
    (workplace / "own" / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer.json is damaged"):
        data_of(workplace / "own")


def test_a_run_does_not_go_on_with_other_examples(gpt2_base: Path) -> None:
    data_of(gpt2_base).load_state_dict(data_of(gpt2_base).state_dict())
    with pytest.raises(ValueError, match="was trained on other examples"):
        data_of(gpt2_base, template="{question}").load_state_dict(data_of(gpt2_base).state_dict())


@pytest.mark.parametrize(("lines", "held_out"), [(2, 0), (5, 1), (20, 4), (60, 8)])
def test_a_short_file_holds_out_a_fifth(gpt2_base: Path, lines: int, held_out: int) -> None:
    rows = (f'{{"question": "What is {n}?", "answer": "A number."}}' for n in range(lines))
    Path("a.jsonl").write_text("\n".join(rows))
    data = data_of(gpt2_base, source="a.jsonl")
    assert len(data.held_out) == held_out
    assert sum(len(batch[0]) for batch in data.train_dataloader()) == lines - held_out
