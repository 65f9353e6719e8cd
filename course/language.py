"""Steps 19 to 21: word embeddings, attention and the transformer block."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from course.pictures import curves
from course.runner import Run
from lightning_modules.evaluate import evaluate
from lightning_modules.nets import GPT, GPTConfig, SelfAttention, Transformer, TransformerBlock
from lightning_modules.nets.gpt import GPT2_SWITCHES

BLOCKS = (1, 2, 4, 8, 12)
SENTENCES = ("the cat sat on the mat", "the fox ran")


def words(run: Run) -> dict[str, Any]:
    """A vocabulary, sentences as vectors, and embeddings trained to tell related words."""
    cli = run.fit("word_similarity")
    data = cli.datamodule
    print("\nvocabulary:", {word: index for index, word in enumerate(data.words)})
    indices = [data.encode(sentence, 6) for sentence in SENTENCES]
    vectors = cli.model.net.cpu()(torch.stack(indices)).detach()  # (2, 6, 4)
    for sentence, row in zip(SENTENCES, indices, strict=True):
        print(f"{sentence!r} -> {row.tolist()}")
    print(f"the first as vectors {tuple(vectors[0].shape)}:\n{vectors[0]}\n")
    pairs, related = (tensor.cpu() for tensor in data.splits["test"])
    probability = evaluate(cli.model, pairs).sigmoid()
    every_pair = torch.cartesian_prod(*[torch.arange(len(data.words))] * 2)
    table = evaluate(cli.model, every_pair).sigmoid().reshape(len(data.words), -1)
    dot = run.fit("word_similarity", "--model.init_args.score=dot", tag="dot").model
    cosines = {"pair model": cosine(cli.model, pairs), "dot product": cosine(dot, pairs)}
    print(f"{'':18}{'related':>9}   cosine similarity: " + ", ".join(cosines))
    for row, (first, second) in enumerate(pairs.tolist()):
        by_net = "  ".join(f"{values[row]:>6.2f}" for values in cosines.values())
        print(
            f"{data.words[first]:>6} and {data.words[second]:<6} {probability[row]:.4f}   {by_net}"
        )
    run.keep(heat_map(table, data.words, "word", "word", "related"), "words")
    return {
        "sentence as indices": indices[0].tolist(),
        "unknown word, padding": indices[1].tolist(),
        "shape of the sentence's vectors": list(vectors[0].shape),
        "related, the lowest": probability[related == 1].min().item(),
        "unrelated, the highest": probability[related == 0].max().item(),
        **{
            f"{name}: cosine of {kind} words": values[related == label].mean().item()
            for name, values in cosines.items()
            for kind, label in (("related", 1), ("unrelated", 0))
        },
        "projector files": len(list((run.folder / "run").rglob("tensors.tsv"))),
    }


def cosine(model: Any, pairs: Tensor) -> Tensor:
    """Cosine similarity (B,) of the vectors of word pairs (B, 2), from -1 to 1."""
    vectors = model.net.weight.detach().cpu()[pairs]
    return F.cosine_similarity(vectors[:, 0], vectors[:, 1], dim=1)


def attention(run: Run) -> dict[str, Any]:
    """Query, key and value of a sentence; untrained, so the picture is of the mechanism."""
    torch.manual_seed(0)
    sentence = ["the", "cat", "sat", "on"]
    x = torch.nn.Embedding(len(sentence), 8)(torch.arange(4)).unsqueeze(0)  # (1, T, 8)
    net = SelfAttention(8)
    with torch.no_grad():
        q, k, v = net.query(x), net.key(x), net.value(x)
        for name, means, tensor in (
            ("Q, query", "what a word asks for", q),
            ("K, key", "what a word offers to be found by", k),
            ("V, value", "what a word passes on", v),
        ):
            print(f"{name}: {means}, {tuple(tensor.shape)}")
        weights = net.weights(x)  # (1, T, T)
        by_hand = torch.softmax(q @ k.mT / 8**0.5, dim=-1) @ v
        fast = F.scaled_dot_product_attention(q, k, v)
        output = net(x)
    for word, row in zip(sentence, weights[0], strict=True):
        print(f"{word:>4} attends: " + "  ".join(f"{value:.2f}" for value in row))
    run.keep(
        heat_map(weights[0], sentence, "key: attended to", "query: attends", "weight"), "attention"
    )
    river, loan = bank_between_meanings("river"), bank_between_meanings("loan")
    print(f"'bank' beside 'river': {river:+.2f}, beside 'loan': {loan:+.2f} (+1 water, -1 money)")
    return {
        "output shape": list(output.shape),
        "shape of the weights": list(weights.shape),
        "row sums, furthest from 1": (weights.sum(dim=-1) - 1).abs().max().item(),
        "difference from softmax(QK / sqrt(d)) V": (output - by_hand).abs().max().item(),
        "difference from torch's attention": (output - fast).abs().max().item(),
        "bank beside river, towards water": river,
        "bank beside loan, towards water": loan,
    }


def bank_between_meanings(neighbor: str) -> float:
    """How far attention moves ``bank`` to water (+) or to money (-) beside one other word.

    Made by hand: the first coordinate of a word's vector stands for water and the second for
    money. ``bank`` has both in equal parts; query, key and value are the vector itself.
    """
    vectors = {"bank": [1.0, 1.0], "river": [2.0, 0.0], "loan": [0.0, 2.0]}
    net = SelfAttention(2)
    with torch.no_grad():
        for linear in (net.query, net.key, net.value):
            linear.weight.copy_(torch.eye(2))
        bank = net(torch.tensor([[vectors["bank"], vectors[neighbor]]]))[0, 0]
    return (bank[0] - bank[1]).item()


def block(run: Run) -> dict[str, Any]:
    """Parameters by number of blocks, sizes of well-known models, and what the sums are for."""
    nets = [Transformer(blocks=blocks) for blocks in BLOCKS]
    counts = [sum(parameter.numel() for parameter in net.parameters()) for net in nets]
    for name, parameter in nets[0].named_parameters():
        print(f"{name:<24} {tuple(parameter.shape)}")
    for blocks, count in zip(BLOCKS, counts, strict=True):
        print(f"{blocks:>2} blocks: {count:>5,} parameters")
    sizes = {
        "GPT-2 small": gpt_parameters(width=768, layers=12, heads=12, context=1024),
        "GPT-3": gpt_parameters(width=12288, layers=96, heads=96, context=2048),
        "LLaMA 7B": llama_parameters(width=4096, layers=32, hidden=11008, vocabulary=32000),
    }
    for name, size in sizes.items():
        print(f"{name:<12} {size:>15,} parameters")
    alike = {"with sums": outputs_alike(True), "without": outputs_alike(False)}
    run.keep(curves(alike, ("block", "cosine of the outputs of different inputs")), "alike")
    return {
        "parameters of 1, 2, 4, 8, 12 blocks": counts,
        "output shape": list(nets[-1](torch.randn(1, 4, 8)).shape),
        **{f"parameters of {name}": size for name, size in sizes.items()},
        **{f"outputs of different inputs alike, {name}": row[-1] for name, row in alike.items()},
    }


def gpt_parameters(width: int, layers: int, heads: int, context: int) -> int:
    """Of a GPT-2 or GPT-3 of this shape, counted on the project's own net without any memory."""
    config = GPTConfig(50257, context, width, layers=layers, heads=heads, **GPT2_SWITCHES)
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in GPT(config).parameters())


def llama_parameters(width: int, layers: int, hidden: int, vocabulary: int) -> int:
    """Of a LLaMA, which this project has no net of: no biases, positions by rotation.

    Source: H. Touvron et al., LLaMA: open and efficient foundation language models, 2023.
    """
    attention_ = 4 * width * width  # query, key, value and output
    feed_forward = 3 * width * hidden  # gate, up and down
    norms = 2 * width
    embeddings = 2 * vocabulary * width  # of the input, and of the output
    return layers * (attention_ + feed_forward + norms) + width + embeddings


def outputs_alike(sums: bool) -> list[float]:
    """Mean cosine of different inputs after each of 12 untrained blocks: 1 if all are forgotten."""
    torch.manual_seed(0)
    net, y, alike = Transformer(blocks=12), torch.randn(64, 4, 8), []
    with torch.no_grad():
        for part in net:
            assert isinstance(part, TransformerBlock)
            y = part(y) if sums else part.norm2(part.ff(part.norm1(part.attention(y))))
            some, others = y.flatten(1).chunk(2)
            alike.append(F.cosine_similarity(some, others, dim=1).mean().item())
    return alike


def heat_map(table: Tensor, names: Sequence[str], across: str, down: str, bar: str) -> Figure:
    """Draws a table (T, T) with values from 0 to 1; the last three name its axes and colors."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.add_subplot(xlabel=across, ylabel=down)
    ticks = range(len(names))
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    image = axes.imshow(table.numpy(), cmap="Blues", vmin=0, vmax=1)
    for row in ticks:
        for column in ticks:
            value = float(table[row, column])
            color = "white" if value > 0.5 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    figure.colorbar(image, label=bar)
    return figure
