"""Adapters as a folder that peft loads."""

from pathlib import Path

from lightning_modules import GPT2LoRA


def write_peft(module: GPT2LoRA, folder: Path) -> None:
    """Writes ``adapter_config.json``, which names the base, and ``adapter_model.safetensors``."""
    adapted = module.net.lm
    adapted.peft_config["default"].base_model_name_or_path = module.pretrained
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form to be filled in
    for path in folder.iterdir():
        path.chmod(0o644)
