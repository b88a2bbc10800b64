"""GoogLeNet: the stages of table 1, the inception block, its two norms, auxiliary heads, names of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgecnn.zoo import find, make_form
from edgecnn.zoo.families.googlenet import GoogLeNet, Inception, googlenet
from edgecnn.zoo.layers import layers_of, totals
from edgecnn.zoo.network import Form

# Output sizes of table 1.
_TABLE_1 = [
    *((256, 28, 28), (480, 28, 28)),
    *((512, 14, 14), (512, 14, 14), (512, 14, 14), (528, 14, 14), (832, 14, 14)),
    *((832, 7, 7), (1024, 7, 7)),
]
SMALL = {"width": 0.2, "input_size": 32, "classes": 10, "in_channels": 1}


def small(**options: object) -> GoogLeNet:
    """Return a narrow network for 32 x 32 images."""
    torch.manual_seed(0)
    return googlenet(**{**SMALL, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["lrn", "bn"])
def test_the_stages_of_table_1(norm: str) -> None:
    rows = layers_of(make_form("googlenet", norm=norm))
    assert [layer.output_shape for layer in rows if layer.kind == "concat"] == _TABLE_1
    stem = [layer.output_shape for layer in rows if layer.name in ("conv1.conv", "maxpool1", "conv3.conv", "maxpool2")]
    assert stem == [(64, 112, 112), (64, 56, 56), (192, 56, 56), (192, 28, 28)]
    convolutions = [layer for layer in rows if layer.kind == "conv"]
    assert len(convolutions) == 3 + 9 * 6
    # On the longest path: 3 in the stem, 2 in each block, the last layer.
    assert len({layer.name.split(".")[0] for layer in rows if layer.params}) == 3 + 9 + 1


@pytest.mark.parametrize(("norm", "kernel", "biases"), [("lrn", 5, True), ("bn", 3, False)])
def test_the_two_norms_differ_in_the_third_branch_and_the_biases(norm: str, kernel: int, biases: bool) -> None:
    model = small(norm=norm)
    convolutions = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    assert convolutions["inception4c.branch3.1.conv"].kernel_size == (kernel, kernel)
    assert {layer.bias is not None for layer in convolutions.values()} == {biases}
    epsilons = {layer.eps for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)}
    assert epsilons == (set() if biases else {0.001})


def test_local_response_norm_stands_after_the_first_pooling_and_before_the_second() -> None:
    kinds = [type(layer).__name__ for layer in googlenet(width=0.125, input_size=64).children()][:7]
    assert kinds == [
        *("Sequential", "MaxPool2d", "LocalResponseNorm", "Sequential", "Sequential", "LocalResponseNorm", "MaxPool2d")
    ]


def test_an_inception_block_concatenates_its_branches_in_order() -> None:
    class Times(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    x = torch.rand(2, 3, 4, 4)
    block = Inception(Times(1), Times(2), Times(5))
    assert [name for name, _ in block.named_children()] == ["branch1", "branch2", "branch3"]
    assert torch.equal(block(x), torch.cat([x, x * 2, x * 5], dim=1))


def test_a_block_of_the_network_is_the_formula_of_figure_2() -> None:
    block = small(norm="lrn").eval().get_submodule("inception3b")
    weights = dict(block.state_dict())

    def conv(name: str, x: Tensor) -> Tensor:
        weight, bias = weights[f"{name}.conv.weight"], weights[f"{name}.conv.bias"]
        return nn.functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2).clamp(min=0)

    x = torch.rand(1, weights["branch1.conv.weight"].shape[1], 5, 5)
    pooled = nn.functional.max_pool2d(nn.functional.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 1)
    expected = [
        conv("branch1", x),
        conv("branch2.1", conv("branch2.0", x)),
        conv("branch3.1", conv("branch3.0", x)),
        conv("branch4.1", pooled),
    ]
    with torch.inference_mode():
        assert torch.allclose(block(x), torch.cat(expected, dim=1), atol=1e-5)


def test_auxiliary_heads_run_in_training_only() -> None:
    model = small(norm="bn", aux_heads=True)
    x = torch.rand(4, 1, 32, 32)
    out = model.train()(x)
    assert isinstance(out, tuple)
    assert [logits.shape for logits in out] == [(4, 10)] * 3
    assert model.aux_weight == 0.3
    ran: list[str] = []
    for name in ("aux1", "aux2"):
        model.get_submodule(name).register_forward_hook(lambda module, args, out: ran.append(type(module).__name__))
    with torch.inference_mode():
        assert isinstance(model.eval()(x), Tensor)
    assert not ran


def test_auxiliary_heads_read_4a_and_4d_and_leave_the_inference_form_alone() -> None:
    with torch.device("meta"):
        plain, with_heads = googlenet(), googlenet(aux_heads=True)
    own, both = plain.state_dict(), with_heads.state_dict()
    assert [key for key in both if not key.startswith("aux")] == list(own)
    assert sum(both[key].numel() for key in both.keys() - own.keys()) == 6_379_728
    assert [both[f"aux{number}.conv.conv.weight"].shape for number in (1, 2)] == [(128, 512, 1, 1), (128, 528, 1, 1)]
    without = small(norm="bn").eval()
    heads = small(norm="bn", aux_heads=True).eval()
    without.load_state_dict({key: value for key, value in heads.state_dict().items() if not key.startswith("aux")})
    x = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(without(x), heads(x))


def test_the_heads_teach_the_middle_even_when_the_end_does_not() -> None:
    model = small(norm="bn", aux_heads=True).train()
    _, first, _ = model(torch.rand(4, 1, 32, 32))
    first.sum().backward()
    assert model.get_submodule("inception4a.branch1.conv").weight.grad is not None
    assert model.get_submodule("inception4b.branch1.conv").weight.grad is None


def test_the_small_image_form_keeps_16_8_and_4_pixels() -> None:
    rows = layers_of(make_form("googlenet", norm="bn", width=0.2, input_size=32, classes=10, channels=1))
    assert [layer.output_shape[1:] for layer in rows if layer.kind == "concat"] == [
        *[(16, 16)] * 2,
        *[(8, 8)] * 5,
        *[(4, 4)] * 2,
    ]
    assert (totals(rows).params, totals(rows).macs) == (246_970, 16_466_976)


def test_weights_are_named_as_in_torchvision() -> None:
    with torch.device("meta"):
        keys = set(googlenet(norm="bn").state_dict())
    assert {
        "conv1.conv.weight",
        "conv1.bn.running_var",
        "inception3a.branch1.conv.weight",
        "inception4e.branch2.1.bn.weight",
        "inception5b.branch4.1.conv.weight",
        "fc.bias",
    } <= keys
    (rule,) = find("googlenet").checkpoints
    assert (rule.mean, rule.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"norm": "none"}, 'norm must be "lrn" \\(paper\\) or "bn" \\(torchvision\\)'),
        ({"width": 0.12}, "width must be at least 0.125"),
        ({"input_size": 7}, "at least 8 pixels"),
    ],
)
def test_impossible_forms_are_refused_with_what_is_allowed(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        googlenet(**options)  # type: ignore[arg-type]


def test_the_name_of_a_form_says_its_norm() -> None:
    form: Form = make_form("inception_v1", norm="bn", width=0.2, input_size=32)
    assert form.title == "googlenet_0.2_32_bn"
