"""A GPT as a folder that transformers and vLLM load."""

import json
from pathlib import Path

from inference.text.tokenizer import END_OF_TEXT
from lightning_modules.nets.gpt import GPT
from lightning_modules.nets.gpt2 import to_gpt2, to_gpt2_config
from lightning_modules.nets.rewrite import as_gpt2


def write_hf(net: GPT, tokenizer: str, folder: Path) -> None:
    """Writes ``config.json``, ``model.safetensors`` and the tokenizer as ``GPT2LMHeadModel`` wants.

    A post-norm net is rewritten first.

    Raises:
        ValueError: a net of another architecture, or transformers is missing.
    """
    net = as_gpt2(net) if not net.config.pre_norm else net
    weights = to_gpt2(net)
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
        from transformers.utils import logging
    except ModuleNotFoundError as error:
        raise ValueError(
            "the transformers folder needs transformers: make setup EXTRAS=dev,llm"
        ) from error
    shape = net.config
    end = json.loads(tokenizer)["model"]["vocab"].get(END_OF_TEXT)
    config = GPT2Config(**to_gpt2_config(shape), bos_token_id=end, eos_token_id=end)
    # llama.cpp's converter reads the length of the context under its old name.
    config.n_ctx = shape.context
    model = GPT2LMHeadModel(config)
    model.load_state_dict(weights)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # save_pretrained makes weights that only their owner can read
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False,
    }
    if end is not None:
        described |= {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(described, indent=2) + "\n")
