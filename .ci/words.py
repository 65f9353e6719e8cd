"""Refuses words that a PyTorch user would have to translate: ``python .ci/words.py``, part of lint.

Prints ``file:line: found, write instead`` and ends with exit code 1 if there is any.
"""

import re
import subprocess
import sys
from pathlib import Path

UNIT = r"(?:one|nats|times|tokens?|images|steps|requests|sequences|epochs|batches|bytes|bits|lines|rows|[GM]B)"  # noqa: E501
PER = r"(?:second|step|epoch|character|token|batch|file|device|parameter|request|line|row)"
IZE = "custom|general|initial|maxim|memor|minim|normal|optim|organ|quant|real|recogn|regular"
IZE += "|serial|special|standard|summar|synchron|token|util|vector|visual"
WORDS = {
    r"gives": "returns, yields, or what it does",
    r"anew": "again, or from scratch",
    r"likeliest": "most likely, argmax, top-k",
    r"perceptron(?! \(MLP\))": "MLP",
    rf"{UNIT} an? {PER}": "per",
    r"put upright": "deskewed",
    r"shared out": "sharded",
    r"(?<!here )(?:is|are) no (?:file|folder|checkpoint|model|image)": "is not a ...",
    r"(?:goes|went) on": "continues, resumes",
    r"looks at whom": "attention from query to key",
    # One spelling, the American one.
    rf"(?i:(?:de|re|un)?(?:{IZE})is(?:e[ds]?|ers?|ing|ations?))": "-ize",
    r"(?i:(?:behavi|col|fav|flav|harb|hon|hum|lab|neighb)our\w*)": "-or: color, neighbor, behavior",
    r"(?i:\w*(?<!per)cent(?:re[ds]?|ring)\d?)": "center, centered",
    r"(?i:greys?(?:er|est|ish)?)": "gray",
    r"(?i:(?:un)?(?:label|model|travel)l(?:ed|ers?|ings?))": "labeled, modeling: one l",
    r"(?i:(?:un|re)?(?:learnt|spelt)|misspelt)": "learned, misspelled",
    r"(?i:analys(?:ed?|ing)|artefacts?|defence|licence[ds]?|offence)": "analyze, license",
}
# The questions are training data, and figures were measured with drift's text: other words, other
# losses.
LEFT_OUT = (".ci/words.py", "callbacks/drift.py", "datamodules/gpu_questions.jsonl")


def main() -> int:
    listed = ["git", "ls-files", "*.py", "*.md", "*.yaml", "*.toml", "Makefile"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    patterns = {re.compile(rf"\b{word}\b"): instead for word, instead in WORDS.items()}
    found = 0
    for name in names:
        if name in LEFT_OUT or not Path(name).is_file():
            continue
        for number, line in enumerate(Path(name).read_text().splitlines(), 1):
            for pattern, instead in patterns.items():
                for match in pattern.finditer(line):
                    print(f"{name}:{number}: {match[0]!r}, write {instead}")
                    found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
