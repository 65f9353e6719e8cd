"""Operations of a module, by torch's counter and by formula."""

from itertools import pairwise

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from torch import Tensor, nn

from lightning_modules import MNISTMLP, MiniGPT
from lightning_modules.flops import count_flops, peak_flops

WIDTH, CONTEXT, LAYERS, WORDS = 128, 32, 2, 65


def mlp_flops(widths: list[int]) -> tuple[int, int]:
    """Of one row, forward alone and with backward: the first layer has no gradient of its input."""
    products = [2 * a * b for a, b in pairwise(widths)]
    return sum(products), 3 * sum(products) - products[0]


def test_an_mlp_has_as_many_as_its_matrices_say() -> None:
    model = MNISTMLP(hidden=(300, 100))
    forward, both = mlp_flops([784, 300, 100, 10])
    example, precision = model.example_input_array, Precision()
    assert count_flops(model, example, precision) == pytest.approx(forward, rel=0.02)
    assert count_flops(model, example, precision, backward=True) == pytest.approx(both, rel=0.02)


def test_rows_of_an_example_share_its_operations() -> None:
    model = MNISTMLP(hidden=(16,))
    one, five = (count_flops(model, torch.zeros(n, 1, 28, 28), Precision()) for n in (1, 5))
    assert one == five > 0


def test_a_gpt_has_six_per_weight_and_twelve_per_position_width_and_layer() -> None:
    """Per token; the formula of A. Chowdhery et al., PaLM, 2022, appendix B."""
    model = MiniGPT(
        WORDS, CONTEXT, WIDTH, layers=LAYERS, heads=4, output_projection=True, pre_norm=True
    )
    matrices = 12 * WIDTH**2 * LAYERS + WIDTH * WORDS
    attention = CONTEXT * WIDTH * LAYERS
    per_row = [
        count_flops(model, model.example_input_array, Precision(), backward)
        for backward in (False, True)
    ]
    assert per_row[0] == pytest.approx(CONTEXT * (2 * matrices + 4 * attention), rel=0.02)
    assert per_row[1] == pytest.approx(CONTEXT * (6 * matrices + 12 * attention), rel=0.02)


class Disturbed(pl.LightningModule):
    """Everything that counting could change: a generator, statistics, modes, gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.layer = nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        out = self.frozen(self.layer(self.norm(x + torch.rand_like(x)))) * scale
        return {"out": out, "index": out.argmax(dim=1)}


@pytest.mark.parametrize("backward", [False, True])
def test_counting_changes_nothing(backward: bool, device: str) -> None:
    model = Disturbed().to(device)
    model.layer.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.cuda.get_rng_state() if device == "cuda" else torch.get_rng_state()
    assert count_flops(model, torch.zeros(3, 4), Precision(), backward) > 0
    after = torch.cuda.get_rng_state() if device == "cuda" else torch.get_rng_state()
    assert torch.equal(generator, after)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.training, model.layer.training, model.norm.training) == (True, False, True)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_frozen_has_no_backward_pass() -> None:
    model = Disturbed().requires_grad_(False)
    counts = [count_flops(model, torch.zeros(3, 4), Precision(), b) for b in (False, True)]
    assert counts[0] == counts[1]


def test_arguments_by_position_by_name_and_in_bf16(device: str) -> None:
    model = Disturbed().to(device)
    precision = MixedPrecision("bf16-mixed", device)
    rows = torch.zeros(3, 4)
    counts = [
        count_flops(model, example, plugin)
        for example in ((rows, 2.0), {"x": rows, "scale": 2.0})
        for plugin in (Precision(), precision)
    ]
    assert len(set(counts)) == 1


def test_a_module_that_raises_is_left_as_it_was() -> None:
    model = Disturbed()
    with pytest.raises(RuntimeError, match=r"size of tensor|running_mean"):
        count_flops(model, torch.zeros(3, 5), Precision())
    assert model.training
    assert model.norm.training


def test_a_cpu_has_no_known_peak() -> None:
    assert peak_flops(torch.device("cpu"), "bf16-mixed") is None


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("NVIDIA H200", "bf16-mixed", 989.4e12),
        ("NVIDIA H200", "32-true", 66.9e12),
        ("NVIDIA H200 NVL", "16-mixed", 835.5e12),
        ("NVIDIA H100 80GB HBM3", "bf16-true", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", "bf16-mixed", 312e12),
        ("NVIDIA L4", "16-mixed", 121e12),
        ("Tesla T4", "bf16-mixed", None),
        ("NVIDIA Unheard 1", "32-true", None),
    ],
)
def test_peaks_of_cards(
    name: str, precision: str, expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names are those that torch reports; which card is there is the one thing that is set."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(
        "lightning.fabric.accelerators.cuda._is_ampere_or_later", lambda device=None: True
    )
    assert peak_flops(torch.device("cuda"), precision) == expected


def test_tf32_has_a_peak_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        assert peak_flops(torch.device("cuda"), "32-true") == 494.7e12
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.gpu
def test_the_card_of_this_machine_is_known_or_left_out() -> None:
    peak = peak_flops(torch.device("cuda"), "bf16-mixed")
    assert peak is None or 1e13 < peak < 1e16
