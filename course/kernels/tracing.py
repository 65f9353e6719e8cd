"""Whether a function is run, or only traced by torch.compile or torch.export."""

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor


def is_traced(tensor: Tensor) -> bool:
    """Whether a tensor has a shape and no memory, so that a kernel cannot be launched with it.

    Then the kernel goes through :func:`torch.library.wrap_triton`, which writes the launch into the
    graph. Otherwise it does not, as that costs a launch of real tensors about a millisecond.
    """
    return isinstance(tensor, FakeTensor | FunctionalTensor)
