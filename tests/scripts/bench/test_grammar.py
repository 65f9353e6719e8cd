import json
from pathlib import Path

import pytest

pytest.importorskip("llguidance", reason="needs the extra serve")
pytest.importorskip("tokenizers", reason="needs the extra llm")

from scripts.bench.grammar import SCHEMAS, main
from tests.inference.text.schemas import of_byte_pairs


def test_each_schema_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tokenizer.json").write_text(of_byte_pairs().source)
    options = ("--tokenizer", str(tmp_path), "--slots", "1,3", "--steps", "20")
    assert main(["grammar", *options, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["milliseconds"]
    assert len(rows) == 3 * len(SCHEMAS)
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in rows.values())
    assert main(["grammar", *options]) == 0
    assert "any object: step of 3" in capsys.readouterr().out


def test_a_tokenizer_is_needed() -> None:
    with pytest.raises(ValueError, match="--tokenizer"):
        main(["grammar"])
