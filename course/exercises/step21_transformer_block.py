"""Exercise for step 21, the transformer block, as GPT-2 has it.

The sums, x + ..., are residual connections: they carry the input through,
however many blocks are stacked. The course's block normalizes after each sum
("post-norm"). GPT-2 and nearly all later models normalize what goes into
attention and MLP, and leave the sum itself alone ("pre-norm"):

    x = x + attention(norm1(x))
    x = x + mlp(norm2(x))

Write the class, then: gpu-learning lessons check 21
"""

from torch import Tensor, nn


class Block(nn.Module):
    """A pre-norm block: (B, T, width) -> (B, T, width).

    Its parts are ``norm1``, ``attention``, ``norm2``, ``up``, a linear layer
    from width to 4 * width, and ``down``, one back to width; between ``up``
    and ``down`` is a ReLU.

    Args:
        width: size of a position's vector.
        attention: the attention layer, ready to use.
    """

    def __init__(self, width: int, attention: nn.Module) -> None:
        super().__init__()
        # BEGIN SOLUTION
        self.norm1 = nn.LayerNorm(width)
        self.attention = attention
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        # END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        # BEGIN SOLUTION
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.up(self.norm2(x)).relu())
        # END SOLUTION


# BEGIN HIDDEN TESTS
import torch  # noqa: E402

from course.exercises.attempt import Attempt  # noqa: E402
from lightning_modules.nets import gpt  # noqa: E402

HINTS = (
    "nn.LayerNorm(width) twice, nn.Linear(width, 4 * width) and nn.Linear(4 * width, width); the "
    "attention is given, keep it as self.attention.",
    "x = x + self.attention(self.norm1(x)): the norm is inside, the sum is outside.",
    "The second half has the same form, with self.down(torch.relu(self.up(self.norm2(x)))).",
)


def check(mine: Attempt) -> None:
    for width, heads in ((8, 1), (12, 3)):
        config = gpt.GPTConfig(width=width, heads=heads, pre_norm=True)
        theirs_block = gpt.Block(config)
        for parameter in theirs_block.parameters():  # so that no norm is the identity
            nn.init.normal_(parameter, mean=0.2, std=0.5)
        ours = Block(width, theirs_block.attn)
        for part in ("norm1", "norm2", "up", "down"):
            getattr(ours, part).load_state_dict(getattr(theirs_block, part).state_dict())
        what = f"Block({width}, attention)"
        theirs = mine.call("Block", width, theirs_block.attn, shown=what)
        mine.take_weights(theirs, ours, what)
        x = torch.randn(2, 5, width)
        shown = f"{what}(tensor (2, 5, {width}))"
        got = mine.call(theirs, x, shown=shown)
        mine.equal(got, theirs_block(x), shown, _mistakes(ours, x), atol=1e-4)


def _mistakes(block: Block, x: Tensor) -> dict[str, Tensor]:
    def mlp(y: Tensor) -> Tensor:
        return block.down(block.up(y).relu())

    attention, norm1, norm2 = block.attention, block.norm1, block.norm2
    middle = x + attention(norm1(x))
    after = norm1(x + attention(x))
    inside = norm1(x) + attention(norm1(x))
    return {
        "that is post-norm: the norms are around the sums; put them inside": (
            norm2(after + mlp(after))
        ),
        "the second sum is missing: x + ...": mlp(norm2(middle)),
        "the first sum is missing: x + ...": (
            attention(norm1(x)) + mlp(norm2(attention(norm1(x))))
        ),
        "both sums are missing": mlp(norm2(attention(norm1(x)))),
        "norm1 is used twice; the MLP has norm2": middle + mlp(norm1(middle)),
        "what is added to is normalized, too; add to x itself": inside + mlp(norm2(inside)),
        "there is no ReLU between up and down": middle + block.down(block.up(norm2(middle))),
        "there are no norms": x + attention(x) + mlp(x + attention(x)),
        "the MLP reads x; it has to read what the attention made of it": middle + mlp(norm2(x)),
    }


# END HIDDEN TESTS
