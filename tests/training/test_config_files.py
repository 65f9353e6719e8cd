import subprocess
import sys
from pathlib import Path

import pytest

from training.config_files import check_config_files


@pytest.mark.parametrize(
    "argv", [["-c", "zzz.yml"], ["--config=b/a.yaml"], ["-c", "ok.yaml", "-c"]]
)
def test_a_missing_file_is_wrong_usage(argv: list[str], capsys, workplace: Path) -> None:
    (workplace / "ok.yaml").write_text("trainer: {}\n")
    if argv[-1] == "-c":
        argv = [*argv, "oky.yaml"]
    with pytest.raises(SystemExit) as ended:
        check_config_files(["fit", *argv])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gpu-learning: error: there is no {argv[-1].removeprefix('--config=')}")
    assert ("did you mean ok.yaml?" in said) == (argv[-1] == "oky.yaml")


def test_a_file_without_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        check_config_files(["fit", "my.yaml"])
    said = "a configuration is named with -c: -c my.yaml"
    assert capsys.readouterr().err == f"gpu-learning: error: {said}\n"


def test_a_folder_is_no_file(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "mine").mkdir()
    with pytest.raises(SystemExit, match="2"):
        check_config_files(["fit", "-c", "mine/"])
    said = "mine/ is a folder; name a file in it, as -c configs/digits_cnn.yaml"
    assert capsys.readouterr().err == f"gpu-learning: error: {said}\n"


@pytest.mark.parametrize(
    "name", ["digits_cnn", "configs/digits_cnn", "digits_cn", "digit_cnn", "configs/digtis_cnn"]
)
def test_an_experiment_named_without_its_file_is_suggested(
    name: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        check_config_files(["fit", "-c", name])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.endswith(f"there is no {name}; did you mean configs/digits_cnn.yaml?\n")


def test_files_that_are_there_and_yaml_itself_pass(workplace: Path) -> None:
    (workplace / "ok.yaml").write_text("trainer: {}\n")
    check_config_files(["fit", "-c", "ok.yaml", "--config", "{trainer: {max_steps: 1}}", "-c"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"model:\n  class_path: MNISTCNN\n init_args: {}\n",
            "bad.yaml is not YAML (line 3, column 2: expected <block end>",
        ),
        (
            b"model:\n\tclass_path: MNISTCNN\n",
            "bad.yaml is not YAML (line 2, column 1: found character '\\t'",
        ),
        (b"model: *net\n", "bad.yaml is not YAML (line 1, column 8: found undefined alias"),
        (b"model: {class_path: a\n", "bad.yaml is not YAML (line 2, column 1: "),
        (b"model: \x00\n", "bad.yaml is not YAML: "),
        (b"\x89PNG\r\n", "bad.yaml is not a text file in UTF-8"),
        (b"- 1\n- 2\n", "bad.yaml holds a list; a configuration holds keys, such as model:"),
        (b"just text\n", "bad.yaml holds text; a configuration"),
        (b"# a comment alone\n", "bad.yaml holds nothing; a configuration"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_place(
    content: bytes, said: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.yaml").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        check_config_files(["fit", "-c", "bad.yaml"])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"gpu-learning: error: {said}")


def test_the_command_says_so_before_it_imports_anything_heavy(workplace: Path) -> None:
    code = (
        "import sys; from scripts.cli import main\n"
        "try: main(['fit', '-c', 'configs/digit_cnn.yaml'])\n"
        "finally: assert not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "did you mean configs/digits_cnn.yaml?" in ended.stderr


def test_outside_of_the_project_its_folder_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(SystemExit):
        check_config_files(["fit", "-c", "configs/digits_cnn.yaml"])
    said = capsys.readouterr().err
    assert f"no folder configs in {tmp_path / 'elsewhere'}: change to the project's folder" in said
