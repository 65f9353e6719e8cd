"""What the client says of a model that cannot do what was asked, with the others that are there."""

import ollama
import pytest

from serving.client import Client, Entry


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["digits", "mini_gpt:latest"], "the server has mini_gpt"),
        (["digits:latest"], "the server has no other; train one: gpu-learning fit "),
    ],
)
def test_a_model_that_is_no_use_is_not_suggested(
    names: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ollama.ResponseError('"digits" does not support generate', 400)

    monkeypatch.setattr(ollama.Client, "generate", refuse)
    monkeypatch.setattr(Client, "models", lambda _: [Entry(name, 1, "", "") for name in names])
    with Client("127.0.0.1:1") as client, pytest.raises(ValueError, match=said) as refused:
        list(client.generate("digits", "the", {}))
    assert str(refused.value).startswith('"digits" does not support generate; the server has ')
