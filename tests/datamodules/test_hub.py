"""Pretrained models by name, without a network."""

from pathlib import Path

import pytest

from datamodules import hub


@pytest.fixture
def cut_off(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, and an empty cache; returns the folder of the cache."""
    pytest.importorskip("huggingface_hub", reason="the extra [llm] is not installed")
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    cache = workplace / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


def test_a_folder_comes_before_the_hub(workplace: Path) -> None:
    (workplace / "gpt2").mkdir()
    assert hub.pretrained_folder("gpt2") == Path("gpt2")


def test_no_network_names_the_way_without(cut_off: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no network.*name a folder in transformers'"):
        hub.pretrained_folder("gpt2")


def test_what_was_downloaded_before_needs_no_network(cut_off: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = cut_off / "models--gpt2"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(commit)
    (kept / "snapshots" / commit).mkdir(parents=True)
    (kept / "snapshots" / commit / "config.json").write_text("{}")
    assert (hub.pretrained_folder("gpt2") / "config.json").is_file()


def test_a_mistake_in_a_path_is_not_looked_up(workplace: Path, monkeypatch) -> None:
    monkeypatch.setattr(hub, "_reachable", lambda: pytest.fail("asked the network"))
    (workplace / "models").mkdir()
    (workplace / "file").touch()
    for name in ("models/none", "/nowhere", "a/b/c"):
        with pytest.raises(ValueError, match="does not exist"):
            hub.pretrained_folder(name)
    with pytest.raises(ValueError, match="is not a folder"):
        hub.pretrained_folder("file")


def test_offline_by_the_hubs_own_setting(monkeypatch) -> None:
    pytest.importorskip("huggingface_hub", reason="the extra [llm] is not installed")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert not hub._reachable()
