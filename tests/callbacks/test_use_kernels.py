"""``callbacks.UseKernels``: in the steps of a fit, and nowhere else."""

import sys
from pathlib import Path
from types import ModuleType

import lightning.pytorch as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.utils import counters

from callbacks import Compile, UseKernels, use_kernels
from course.kernels import environment
from datamodules import CharTextDataModule, DigitsDataModule
from lightning_modules import MNISTMLP, MiniGPT
from lightning_modules.gpt2_base import load_base
from lightning_modules.nets.causal_loss import CausalLoss
from lightning_modules.nets.gpt import GPT, GPTConfig
from lightning_modules.nets.kernels import Kernels
from tests.conftest import quiet_trainer
from training.profiling.session import _takes_part


class OwnOps(ModuleType):
    """LayerNorm by torch's own function, and whether each call was in a training step."""

    def __init__(self) -> None:
        super().__init__("own_ops")
        self.calls: list[bool] = []

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        self.calls.append(torch.is_grad_enabled())
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


@pytest.fixture
def ops(monkeypatch: pytest.MonkeyPatch) -> OwnOps:
    # Of own_ops nothing is Triton's. Not by TRITON_INTERPRET=1: what torch.compile imports then is
    # interpreted for the rest of this process, and compiles nothing for a GPU any more.
    monkeypatch.setattr(use_kernels, "_can_run", lambda trainer: True)
    monkeypatch.setitem(sys.modules, "own_ops", made := OwnOps())
    return made


class Interrupting(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        raise RuntimeError("an error in a step")


def fit(*callbacks: pl.Callback) -> MiniGPT:
    torch.manual_seed(0)
    model = MiniGPT(context=8, width=16, pre_norm=True)
    data = CharTextDataModule(context=8, batch_size=4, batches=3)
    quiet_trainer(
        max_epochs=2, callbacks=list(callbacks), num_sanity_val_steps=1, limit_val_batches=1
    ).fit(model, datamodule=data)
    return model


def test_a_model_learns_the_same_by_the_functions_of_another_module(ops: OwnOps) -> None:
    callback = UseKernels("own_ops")
    ours, plain = fit(callback), fit()
    assert callback.kernels is not None
    assert callback.kernels.replaced == {"layer_norm": 5}
    assert ops.calls == [True] * 2 * 3 * 5  # epochs, batches, norms: in no validation
    assert not [m for m in ours.modules() if {"forward", "loss", "mlp", "attend"} & set(vars(m))]
    assert ours.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_an_error_leaves_the_net_as_it_is_written(ops: OwnOps) -> None:
    callback, seen = UseKernels("own_ops"), []

    class Seeing(pl.Callback):
        def on_fit_start(self, trainer, pl_module) -> None:
            seen.append(pl_module)

    with pytest.raises(RuntimeError, match="an error in a step"):
        fit(callback, Seeing(), Interrupting())
    assert ops.calls
    assert not [m for m in seen[0].modules() if "forward" in vars(m)]


@pytest.mark.slow
def test_torch_compiles_the_net_with_the_operators_in_it(ops: OwnOps, monkeypatch) -> None:
    runs: list[int] = []

    @torch.library.custom_op("tests::layer_norm", mutates_args=())
    def operator(
        x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        runs.append(len(x))
        return torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)

    @operator.register_fake
    def _(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        return torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)

    def keep(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[:3], *output[1:])

    def gradients(ctx, grad, *_) -> tuple:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        backward = torch.ops.aten.native_layer_norm_backward
        by = backward(grad, x, x.shape[-1:], mean, rstd, weight, bias, [True] * 3)
        return *by, None

    operator.register_autograd(gradients, setup_context=keep)
    monkeypatch.setattr(ops, "layer_norm", lambda *given: operator(*given)[0], raising=False)
    torch.compiler.reset()
    counters.clear()
    ours, plain = fit(UseKernels("own_ops"), Compile()), fit()
    assert runs == [4] * 2 * 3 * 5  # batches of 4, and in no validation
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-4, rtol=1e-4)


def test_a_net_without_a_place_is_refused(ops: OwnOps) -> None:
    trainer = quiet_trainer(max_steps=1, callbacks=[UseKernels("own_ops")])
    with pytest.raises(ValueError, match="was replaced: own_ops has layer_norm"):
        trainer.fit(MNISTMLP(hidden=(16,)), datamodule=DigitsDataModule())


def test_without_a_gpu_it_says_what_to_type(gpu_learning, monkeypatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    code, _, err = gpu_learning("fit", "-c", "configs/mini_gpt_kernels.yaml")
    assert code == 1
    assert "callbacks.UseKernels needs a CUDA GPU; TRITON_INTERPRET=1 before the command" in err


def test_without_a_gpu_the_net_stays_as_it_is_where_that_is_asked_for(monkeypatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    callback = UseKernels("no_such_ops", without_gpu="skip")
    fit(callback)
    assert callback.kernels is None
    with pytest.raises(ValueError, match="without_gpu must be error or skip, got 'maybe'"):
        UseKernels("own_ops", without_gpu="maybe")  # type: ignore[arg-type]


def test_only_some_functions_are_taken(ops: OwnOps) -> None:
    ops.bias_gelu = lambda x, bias: F.gelu(x + bias, approximate="tanh")  # type: ignore[attr-defined]
    gpt = GPT(GPTConfig(gelu=True))
    assert Kernels(gpt, "own_ops").replaced == {"layer_norm": 4, "bias_gelu": 2}
    assert Kernels(gpt, "own_ops", ["bias_gelu"]).replaced == {"bias_gelu": 2}
    with pytest.raises(ValueError, match="own_ops defines none of cross_entropy"):
        Kernels(gpt, "own_ops", ["cross_entropy"])
    with pytest.raises(ValueError, match="only must name some of layer_norm, "):
        Kernels(gpt, "own_ops", ["layernorm"])
    with pytest.raises(ValueError, match="got an empty list"):
        Kernels(gpt, "own_ops", [])
    with pytest.raises(ValueError, match="own_ops does not define cross_entropy; take it out of"):
        Kernels(gpt, "own_ops", ["layer_norm", "cross_entropy"])
    with pytest.raises(ValueError, match="GPT has no place for bias_gelu; take it out of only"):
        Kernels(GPT(GPTConfig()), "own_ops", ["bias_gelu", "layer_norm"])


def test_a_wrong_name_is_found_without_a_gpu_too() -> None:
    with pytest.raises(ValueError, match=r"layer_norm, .*, got cross_entropi$"):
        UseKernels("own_ops", ["cross_entropi"], without_gpu="skip")


def test_dropout_within_attention_is_no_matter_of_the_other_functions(ops: OwnOps) -> None:
    ops.causal_attention = F.scaled_dot_product_attention  # type: ignore[attr-defined]
    gpt = GPT(GPTConfig(dropout=0.1))
    assert Kernels(gpt, "own_ops", ["layer_norm"]).replaced == {"layer_norm": 4}
    with pytest.raises(ValueError, match="a kernel of attention has no dropout"):
        Kernels(gpt, "own_ops")


def test_the_loss_of_a_model_of_transformers(ops: OwnOps, gpt2_base: Path) -> None:
    """Its output layer is padded, of which the function is told."""
    net = CausalLoss(load_base(str(gpt2_base), torch.float32)[0])
    ids, targets = torch.randint(net.vocab_size, (2, 2, 9))
    given: list[Tensor] = []

    def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int) -> Tensor:
        given.append(weight)
        logits = F.linear(hidden, weight[:vocab_size])
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    ops.cross_entropy = cross_entropy  # type: ignore[attr-defined]
    kernels, plain = Kernels(net, "own_ops", ["cross_entropy"]), net(ids, targets)
    kernels.switch(on=True)
    torch.testing.assert_close(net(ids, targets), plain)
    assert given == [net.head]


def test_without_triton_it_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(environment.PACKAGES, "triton", ("no_such_package", "triton"))
    monkeypatch.delitem(sys.modules, "course.kernels.ops", raising=False)
    with pytest.raises(ValueError, match=r"it needs triton, which is not installed; "):
        Kernels(torch.nn.LayerNorm(2), "course.kernels.ops")


def test_a_profile_is_of_the_step_with_it() -> None:
    assert _takes_part(UseKernels("own_ops"))
