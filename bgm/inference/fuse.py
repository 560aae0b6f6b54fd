"""Makes an inference-only copy of a network: batch norms folded, activations fused, channels last.

Folding changes results by rounding only (about 1e-6). On the CPU, each convolution then runs
together with its activation in one oneDNN primitive, with weights laid out for it in advance.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Module = TypeVar("Module", bound=nn.Module)

Activation = tuple[str, list[float], str]
_RELU: Activation = ("relu", [], "")
_RELU6: Activation = ("hardtanh", [0.0, 6.0], "")
_NONE: Activation = ("none", [], "")
_REDUCED = 4  # a side of an example is reduced so many times to learn the sizes within a network


class PackedConvolution(nn.Module):
    """A convolution on the CPU, with its activation, by oneDNN.

    Args:
        convolution: The convolution; its weights are copied.
        activation: What follows it: None, `nn.ReLU` or `nn.ReLU6`.
        size: Typical shape of its input, (B, C, H, W), for the layout of the weights; any other
            shape gives the same result.
    """

    def __init__(
        self, convolution: nn.Conv2d, activation: nn.Module | None, size: tuple[int, ...]
    ) -> None:
        super().__init__()
        self._geometry = (
            list(convolution.padding),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self._activation = _NONE
        if activation is not None:
            self._activation = _RELU6 if isinstance(activation, nn.ReLU6) else _RELU
        bias = convolution.bias
        self._bias = None if bias is None else bias.detach().clone()
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(
            convolution.weight.detach().clone(), *self._geometry, list(size)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W), channels last."""
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, *self._activation
        )
        return output


def can_pack() -> bool:
    """Whether this build of torch has what `PackedConvolution` calls, and it gives the right sums.

    The operators are those that torch's own compiler emits; they are not documented, so they are
    tried before they are relied on.
    """
    try:
        convolution = nn.Conv2d(3, 4, 3)
        x = torch.rand(1, 3, 5, 5).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            packed = PackedConvolution(convolution, nn.ReLU(), tuple(x.shape))(x)
            return torch.allclose(packed, convolution(x).relu(), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):
        return False


def fold(convolution: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """A convolution that does what a convolution and the batch norm behind it do."""
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution.eval(), norm.eval())


def channels_last(module: Module) -> Module:
    """Lay out the weights of a module as convolutions on the CPU and on tensor cores like them."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def fuse(network: nn.Module, example: Tensor, *, pack: bool) -> fx.GraphModule:
    """Copy a network for inference.

    Args:
        network: A network that torch.fx can trace, in evaluation mode.
        example: A typical input, (B, C, H, W).
        pack: Whether to use `PackedConvolution`, on the CPU in float32.

    Returns:
        A module with the same results but for rounding, in channels-last format.
    """
    traced = fx.symbolic_trace(copy.deepcopy(network).eval())
    for node in list(traced.graph.nodes):
        norm = _only_user(traced, node, nn.BatchNorm2d)
        if _is(traced, node, nn.Conv2d) and norm is not None:
            convolution = _module(traced, node)
            assert isinstance(convolution, nn.Conv2d)
            traced.set_submodule(str(node.target), fold(convolution, _module(traced, norm)))
            _skip(traced, norm, node)
    channels_last(traced)
    if pack:
        _pack(traced, example)
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    return traced


def _pack(traced: fx.GraphModule, example: Tensor) -> None:
    sizes = _input_sizes(traced, example)
    for node in list(traced.graph.nodes):
        if _is(traced, node, nn.Conv2d):
            convolution = _module(traced, node)
            assert isinstance(convolution, nn.Conv2d)
            follower = _only_user(traced, node, nn.ReLU, nn.ReLU6)
            activation = None if follower is None else _module(traced, follower)
            packed = PackedConvolution(convolution, activation, sizes[str(node.target)])
            traced.set_submodule(str(node.target), packed)
            if follower is not None:
                _skip(traced, follower, node)


def _input_sizes(traced: fx.GraphModule, example: Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of each convolution's input, about; a small part of the example is as good."""
    sizes: dict[str, tuple[int, ...]] = {}
    hooks = []
    for name, module in traced.named_modules():
        if isinstance(module, nn.Conv2d):

            def note(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                batch, channels, height, width = inputs[0].shape
                sizes[name] = (batch, channels, height * _REDUCED, width * _REDUCED)

            hooks.append(module.register_forward_pre_hook(note))
    traced.recompile()
    part = example[..., : example.shape[2] // _REDUCED, : example.shape[3] // _REDUCED]
    with torch.inference_mode():
        traced(part.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    return sizes


def _is(traced: fx.GraphModule, node: fx.Node, *kinds: type[nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(_module(traced, node), kinds)


def _module(traced: fx.GraphModule, node: fx.Node) -> nn.Module:
    return traced.get_submodule(str(node.target))


def _only_user(traced: fx.GraphModule, node: fx.Node, *kinds: type[nn.Module]) -> fx.Node | None:
    """The node that alone takes the output of `node`, if it is a module of these kinds."""
    users = list(node.users)
    return users[0] if len(users) == 1 and _is(traced, users[0], *kinds) else None


def _skip(traced: fx.GraphModule, node: fx.Node, source: fx.Node) -> None:
    node.replace_all_uses_with(source)
    traced.graph.erase_node(node)
