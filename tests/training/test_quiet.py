"""What a user reads on the screen is about the training, not about Lightning and torch."""

import pytest

NOISE = ("Tip:", "LOCAL_RANK", "TPU", "deprecated", "weights_only", "Tensor Cores", "Warning")
SHORT = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=3")


@pytest.mark.parametrize("config", ["digits_cnn", "mini_gpt"])
def test_no_noise(config: str, gpu_learning, device: str) -> None:
    commands = [["fit", "-c", f"configs/{config}.yaml", *SHORT]]
    if config == "mini_gpt":
        commands[0] += ["--trainer.precision=bf16-mixed", "--trainer.callbacks=null"]
    else:
        commands.append(["test", "-c", f"configs/{config}.yaml"])
    for command in commands:
        code, out, err = gpu_learning(*command)
        assert code == 0, err
        assert not [word for word in NOISE if word in out + err]
