from pathlib import Path

import pytest
import torch

from datamodules import BPETokenizer, CharTextDataModule, CharTokenizer, WindowLoader
from datamodules.corpus import COURSE_TEXT, cats_and_dogs, python_topics, read_texts
from datamodules.windows import IGNORED
from inference.text.tokenizer import Tokenizer
from tests.conftest import ROOT

GPT2_FILES = ROOT / "data" / "gpt2-tokenizer"


def text_of(n: int) -> torch.Tensor:
    return torch.arange(n, dtype=torch.int32)


def test_the_embedded_text_has_the_courses_characters() -> None:
    assert "".join(sorted(set(cats_and_dogs()))) == " .acdeghlmnorst"


def test_the_courses_own_text() -> None:
    data = CharTextDataModule(source="course", context=16, val_fraction=0)
    data.setup("fit")
    assert len(COURSE_TEXT) == 135
    assert data.tokenizer is not None
    assert data.tokenizer.vocab_size == 15
    inputs, targets = next(iter(data.train_dataloader()))
    assert inputs.shape == targets.shape == (32, 16)


def test_the_text_that_comes_with_python() -> None:
    pytest.importorskip("pydoc_data", reason="this Python was packaged without it")
    text = python_topics()
    assert len(text) > 200_000
    assert text == python_topics()
    assert "lambda" in text


def test_targets_follow_their_inputs() -> None:
    loader = WindowLoader(text_of(100), context=8, batch_size=4, batches=5)
    for inputs, targets in loader:
        assert inputs.shape == targets.shape == (4, 8)
        assert torch.equal(inputs + 1, targets)


@pytest.mark.parametrize("length", [9, 10, 17, 100, 101])
@pytest.mark.parametrize("world_size", [1, 2])
def test_validation_counts_each_target_once(length: int, world_size: int) -> None:
    if -(-(length - 1) // 8) < world_size:
        pytest.skip("fewer windows than processes")
    seen = []
    for rank in range(world_size):
        loader = WindowLoader(text_of(length), 8, 3, rank=rank, world_size=world_size)
        for inputs, targets in loader:
            counted = targets != IGNORED
            assert torch.equal((inputs + 1)[counted], targets[counted])
            seen += targets[counted].tolist()
    assert sorted(seen) == list(range(1, length))


def test_training_sees_each_token_once_before_it_cuts_anew() -> None:
    # 12 windows fit behind any offset; 3 batches of 4 are exactly one pass.
    loader = WindowLoader(text_of(8 * 13), context=8, batch_size=4, batches=3)
    tokens = torch.cat([targets.flatten() for _, targets in loader])
    assert len(tokens.unique()) == len(tokens) == 96


def test_windows_of_epochs_differ_and_the_seed_decides() -> None:
    def starts(loader: WindowLoader) -> list[int]:
        return [int(row[0]) for inputs, _ in loader for row in inputs]

    loader = WindowLoader(text_of(400), 8, 4, batches=10, seed=3)
    epochs = [starts(loader), starts(loader)]
    assert epochs[0] != epochs[1]
    again = WindowLoader(text_of(400), 8, 4, batches=10, seed=3)
    assert [starts(again), starts(again)] == epochs
    assert starts(WindowLoader(text_of(400), 8, 4, batches=10, seed=4)) != epochs[0]


def test_two_processes_share_what_one_would_see() -> None:
    alone = WindowLoader(text_of(500), 8, 6, batches=4, seed=3)
    halves = [WindowLoader(text_of(500), 8, 3, 4, 3, rank, 2) for rank in (0, 1)]
    for (whole, _), (first, _), (second, _) in zip(alone, *halves, strict=True):
        assert torch.equal(whole[0::2], first)
        assert torch.equal(whole[1::2], second)


def test_a_stopped_epoch_goes_on_where_it_stood() -> None:
    def make() -> WindowLoader:
        return WindowLoader(text_of(500), 8, 4, batches=6, seed=1)

    whole = make()
    expected = [inputs for _ in range(2) for inputs, _ in whole]
    stopped, found = make(), []
    for number, (inputs, _) in enumerate(stopped):
        found.append(inputs)
        if number == 2:
            break
    resumed = make()
    resumed.load_state_dict(stopped.state_dict())
    found += [inputs for _ in range(2) for inputs, _ in resumed]
    assert torch.equal(torch.stack(found), torch.stack(expected))


def test_characters_there_and_back() -> None:
    text = 'Grüße, 世界 🙂\n\t"x"'
    tokenizer = CharTokenizer(text)
    reader = Tokenizer(tokenizer.to_json())
    assert reader.vocab_size == tokenizer.vocab_size == len(set(text))
    assert tokenizer.encode(text).tolist() == reader.encode(text)
    assert reader.decode(reader.encode(text)) == text


def test_transformers_reads_a_character_tokenizer() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    text = "a cat\nand Ünïcode 🙂"
    mine = CharTokenizer(text)
    theirs = tokenizers.Tokenizer.from_str(mine.to_json())
    assert theirs.encode(text).ids == mine.encode(text).tolist()
    assert theirs.decode(theirs.encode(text).ids) == text


def test_unknown_characters_are_listed() -> None:
    with pytest.raises(ValueError, match="lacks 2 characters of the text: 'X' 'é'"):
        CharTokenizer("abc").encode("aXbéc")


def test_byte_pairs_are_learned_and_read() -> None:
    pytest.importorskip("tokenizers")
    bpe = BPETokenizer.fit(cats_and_dogs(), 300)
    text = "the cat sat on the mat. Unseen: é"
    reader = Tokenizer(bpe.to_json())
    assert reader.decode(bpe.encode(text).tolist()) == text
    assert reader.encode(text) == bpe.encode(text).tolist()
    assert len(bpe.encode("the cat sat on the mat.")) < 12
    assert reader.end is not None


def test_the_end_of_text_is_one_token_and_no_text_to_learn_from() -> None:
    pytest.importorskip("tokenizers")
    bpe = BPETokenizer.fit("abc<|endoftext|>" * 50, 400)
    assert bpe.encode("<|endoftext|>").tolist() == [bpe.end]
    assert '"endoftext"' not in bpe.to_json()


@pytest.mark.skipif(not GPT2_FILES.is_dir(), reason=f"{GPT2_FILES} is not there")
def test_gpt2s_own_files() -> None:
    pytest.importorskip("tokenizers")
    bpe = BPETokenizer.from_files(GPT2_FILES)
    assert bpe.vocab_size == 50257
    assert bpe.encode("Hello world").tolist() == [15496, 995]
    assert Tokenizer(bpe.to_json()).end == 50256


def test_text_is_cut_by_position_and_tokenized_alike(workplace: Path) -> None:
    (workplace / "own").mkdir()
    (workplace / "own" / "a.txt").write_text("abcd" * 20)
    (workplace / "own" / "b.txt").write_text("wxyz" * 10)
    data = CharTextDataModule(source="own", context=4, val_fraction=0.25)
    data.setup("fit")
    assert data.tokenizer is not None
    read = Tokenizer(data.tokenizer.to_json()).decode
    assert read(data._splits["train"].tolist()) == "abcd" * 20 + "\n" + "wxyz" * 2 + "w"
    assert read(data._splits["val"].tolist()) == "xyz" + "wxyz" * 7


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_and_line_ends_of_windows(workplace: Path, encoding: str) -> None:
    Path("own.txt").write_bytes("Grüße,\r\n天地\rend\n".encode(encoding))
    assert read_texts(Path("own.txt")) == "Grüße,\n天地\nend\n"


@pytest.mark.parametrize("text", ["The cat sat on the mat.\r\n", "Привет, мир. Это текст.\n"])
@pytest.mark.parametrize("encoding", ["utf-16le", "utf-16be"])
def test_utf_16_without_a_mark_is_named(workplace: Path, text: str, encoding: str) -> None:
    Path("own.txt").write_bytes((text * 9).encode(encoding))
    with pytest.raises(ValueError, match=f"like UTF-16 without .* iconv -f {encoding} -t utf-8"):
        read_texts(Path("own.txt"))


def test_control_characters_are_no_encoding(workplace: Path) -> None:
    text = "a\0bc\x01de\0f\n" * 5
    Path("own.txt").write_bytes(text.encode())
    assert read_texts(Path("own.txt")) == text
    Path("own.txt").write_bytes("天地玄黄 宇宙洪荒\n".encode("utf-16le"))
    with pytest.raises(ValueError, match="for example: iconv -f utf-16le"):
        read_texts(Path("own.txt"))


def test_bpe_does_not_learn_from_the_validation_text(workplace: Path) -> None:
    pytest.importorskip("tokenizers")
    Path("own.txt").write_text("the cat " * 90 + "zebra " * 15)
    data = CharTextDataModule(source="own.txt", context=4, tokenizer="bpe", bpe_vocab_size=300)
    data.setup("fit")
    assert data.tokenizer is not None
    assert len(data.tokenizer.encode(" zebra")) > 1
    assert data.chars_per_token > 1


def test_resuming_with_another_text_is_refused(workplace: Path) -> None:
    Path("own.txt").write_text("a different text " * 50)
    before = CharTextDataModule()
    before.setup("fit")
    after = CharTextDataModule(source="own.txt")
    after.setup("fit")
    with pytest.raises(ValueError, match="trained with another tokenizer"):
        after.load_state_dict(before.state_dict())


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (b"abc", {}, "part of own.txt has 2 tokens, a window needs 33"),
        (b"good\xff\xfebad" * 50, {}, r"own.txt is not UTF-8 \(byte 4 is 0xff\)"),
        (b"text " * 50, {"source": "nowhere.txt"}, "nowhere.txt does not exist"),
        (b"text " * 50, {"tokenizer": "nofolder"}, "vocab.json is missing"),
    ],
)
def test_bad_texts(workplace: Path, content: bytes, arguments: dict, message: str) -> None:
    Path("own.txt").write_bytes(content)
    data = CharTextDataModule(**({"source": "own.txt"} | arguments))
    with pytest.raises(ValueError, match=message):
        data.setup("fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context": 0}, "context must be at least 1"),
        ({"batches": 0}, "batches must be at least 1"),
        ({"val_fraction": 1.0}, "val_fraction must be"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CharTextDataModule(**arguments)


def test_a_damaged_shakespeare_is_refused(workplace: Path) -> None:
    path = workplace / "data" / "tinyshakespeare" / "input.txt"
    path.parent.mkdir(parents=True)
    path.write_text("To be, or not to be")
    data = CharTextDataModule(source="tiny_shakespeare")
    data.prepare_data()
    with pytest.raises(ValueError, match="is not Tiny Shakespeare"):
        data.setup("fit")


def test_no_network_names_the_ways_without(workplace: Path, monkeypatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    data = CharTextDataModule(source="tiny_shakespeare")
    with pytest.raises(ValueError, match=r"no route to host.*cats_and_dogs"):
        data.prepare_data()
