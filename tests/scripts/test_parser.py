"""What the commands say of a mistyped option or choice: one sentence and one line of usage."""

import pytest


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("generate models/x --max-tokens 20", "no option --max-tokens; did you mean --max-new-"),
        ("lessons strat 4", "there is no 'strat'; did you mean start?"),
        ("lessons check --submision x", "no option --submision; did you mean --submissions?"),
        ("lessons 4", "done with step 4? gpu-learning lessons run 4 runs it\n"),
        ("lessons run 4 5", "unexpected argument '5'"),
        ("config explian", "there is no 'explian'; did you mean explain?"),
        ("demo --data zzz", "--data: there is no 'zzz'; choose from digits, mnist"),
        ("serve --prot=3", "there is no option --prot; did you mean --port?"),
        ("doctor --jsn", "there is no option --jsn; did you mean --json?\n"),
        ("doctor x", "unexpected argument 'x'\n"),
        ("chat --zzzzz", "there is no option --zzzzz\n"),
        (
            "import a.pth --model M --name n --modle.num_classes=3",
            "there is no option --modle.num_classes",
        ),
        ("generate models/x --seed q", "argument --seed: invalid int value: 'q'"),
        ("lessons hint", "the following arguments are required: lesson"),
        ("lessons run", "arguments are required: lesson (its step or name, for example 9)\n"),
        ("classify", "arguments are required: MODEL"),
        ("classify models/x", "arguments are required: IMAGE (file or folder)\n"),
        ("classify logs/7.PNG", "the first argument is a model's folder, and images follow"),
        ("classify 7.png 3.png --device cpu", "gpu-learning classify models/NAME 7.png\n"),
        ("export", "arguments are required: source (checkpoint, run folder or logs/<exp"),
    ],
)
def test_a_mistake_is_one_sentence_and_one_line_of_usage(
    gpu_learning, typed: str, said: str
) -> None:
    code, out, err = gpu_learning(*typed.split())
    assert (code, out) == (2, "")
    assert said in err
    error, usage = err.splitlines()
    assert error.startswith("gpu-learning: error: ")
    assert usage.startswith(f"usage: gpu-learning {typed.split()[0]} ")
    assert usage.endswith("--help says more")
