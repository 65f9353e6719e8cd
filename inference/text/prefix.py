"""Which slot a request takes: one whose cache has the beginning of its prompt, if there is one."""

from collections.abc import Sequence

from inference.text.slot import Slot

# Fewer positions than that are prefilled again, together with other prompts that join.
FEWEST = 32
_BLOCK = 64


def choose_slot(free: Sequence[Slot], ids: Sequence[int]) -> tuple[Slot, int]:
    """A slot for a prompt, and how many of its tokens the slot's cache has already.

    A conversation comes back to the slot that it had. One that shares only a smaller part of what a
    slot holds, such as a system message, leaves that slot to its own conversation while there are
    others; then it takes the one that was free for longest.

    Args:
        free: slots without a generation, at least one.
        ids: the prompt; its last token is not prefilled, the next step takes it.
    """
    prompt = list(ids[:-1])
    shared, best = max(
        ((common_prefix(slot.held, prompt), slot) for slot in free), key=lambda pair: pair[0]
    )
    if shared >= FEWEST and (2 * shared >= len(best.held) or len(free) == 1):
        return best, shared
    return min(free, key=lambda slot: slot.freed), 0


def common_prefix(one: list[int], other: list[int]) -> int:
    """How many tokens two sequences have in common from their first on."""
    most = min(len(one), len(other))
    for start in range(0, most, _BLOCK):
        left, right = one[start : start + _BLOCK], other[start : start + _BLOCK]
        if left != right:  # compared in one go; token by token only here
            same = (a == b for a, b in zip(left, right, strict=False))
            return min(start + next((n for n, equal in enumerate(same) if not equal), _BLOCK), most)
    return most
