"""Record what the original implementations answer: `python record.py [NAME...]` writes a file per network beside this one.

Needs torchvision and timm, which the tests do not: they read the files. A file holds where the answer comes from, every
key of the state dict with its shape, the size of the input and the logits; weights and image follow by `formula.py`. The
answer is in double precision: with random weights the deepest networks amplify the rounding of single precision, which
differs from processor to processor, a million times.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))
formula = import_module("formula")

CLASSES = 10


class Original(NamedTuple):
    """One network of another package: its name there, ours, our options, and the input size in pixels."""

    package: str
    name: str
    network: str
    options: dict[str, Any]
    input_size: int


ORIGINALS = (
    Original("torchvision", "alexnet", "alexnet", {}, 224),
    Original("torchvision", "vgg11", "vgg11", {}, 224),
    Original("torchvision", "vgg16_bn", "vgg16_bn", {}, 224),
    Original("torchvision", "googlenet", "googlenet", {"norm": "bn"}, 64),
    Original("torchvision", "inception_v3", "inception_v3", {}, 128),
    Original("torchvision", "resnet18", "resnet18", {}, 64),
    Original("torchvision", "resnet50", "resnet50", {}, 64),
    Original("torchvision", "wide_resnet50_2", "wide_resnet50_2", {}, 64),
    Original("torchvision", "resnext50_32x4d", "resnext50_32x4d", {}, 64),
    Original("torchvision", "densenet121", "densenet121", {}, 64),
    Original("torchvision", "squeezenet1_0", "squeezenet1_0", {}, 64),
    Original("torchvision", "squeezenet1_1", "squeezenet1_1", {}, 64),
    Original("torchvision", "mobilenet_v2", "mobilenet_v2", {}, 64),
    Original("torchvision", "mobilenet_v3_large", "mobilenet_v3_large", {}, 64),
    Original("torchvision", "mobilenet_v3_small", "mobilenet_v3_small", {}, 64),
    Original("torchvision", "shufflenet_v2_x1_0", "shufflenet_v2_x1_0", {}, 64),
    Original("timm", "mobilenetv1_100", "mobilenet_v1", {"activation": "relu6"}, 64),
    Original("timm", "legacy_xception", "xception", {}, 96),
    Original("timm", "inception_v4", "inception_v4", {}, 128),
    Original("timm", "inception_resnet_v2", "inception_resnet_v2", {}, 128),
    Original("timm", "seresnet50", "seresnet50", {}, 64),
    Original("timm", "seresnext50_32x4d", "seresnext50_32x4d", {}, 64),
    Original("timm", "legacy_senet154", "senet154", {}, 64),
    Original("timm", "nasnetalarge", "nasnet_a_large", {}, 96),
    Original("timm", "efficientnet_lite0", "efficientnet_lite0", {}, 64),
)


def main(names: list[str]) -> None:
    """Record the networks of those names, all without any."""
    for original in ORIGINALS:
        if not names or original.name in names:
            path = FOLDER / f"{original.package}_{original.name}.json.gz"
            content = json.dumps(record(original), separators=(",", ":")).encode()
            path.write_bytes(gzip.compress(content, mtime=0))
            print(path.name, path.stat().st_size)


def record(original: Original) -> dict[str, Any]:
    """Return what is written about one network."""
    model = _make(original).eval().double()
    shapes = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    state = {key: torch.from_numpy(array) for key, array in formula.draw_state(shapes).items()}
    model.load_state_dict(state, strict=True)
    images = torch.from_numpy(formula.draw_images((1, 3, original.input_size, original.input_size))).double()
    with torch.inference_mode():
        logits = model(images)[0].tolist()
    assert max(map(abs, logits)) < 1e12, "activations grow without bound"
    return {
        "source": f"{original.package} {original.name}",
        "version": metadata.version(original.package),
        "network": original.network,
        "options": original.options,
        "input_size": original.input_size,
        "classes": CLASSES,
        "logits": logits,
        "shapes": shapes,
    }


def _make(original: Original) -> torch.nn.Module:
    if original.package == "timm":
        model: torch.nn.Module = import_module("timm").create_model(original.name, num_classes=CLASSES)
        return _without_padding_in_means(model) if original.name == "nasnetalarge" else model
    factory: Callable[..., torch.nn.Module] = getattr(import_module("torchvision.models"), original.name)
    # The published files of these were converted: they want the transformed input that the library makes itself.
    special = {"googlenet": {"aux_logits": True}, "inception_v3": {"aux_logits": True}}
    extra = {"init_weights": False} if original.name in special else {}
    return factory(num_classes=CLASSES, **special.get(original.name, {}), **extra)


def _without_padding_in_means(model: torch.nn.Module) -> torch.nn.Module:
    """Take the padding out of the means of strided average pools, as the authors' release has it and timm has not."""
    same = import_module("timm.layers.pool2d_same").AvgPool2dSame
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, same):
                setattr(module, name, _MeanOfPixels(child))
    return model


class _MeanOfPixels(torch.nn.Module):
    """Divides a mean that counts padding by the share of the window that is no padding."""

    def __init__(self, pool: torch.nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean over the pixels of every window."""
        mean: torch.Tensor = self.pool(x) / self.pool(torch.ones_like(x))
        return mean


if __name__ == "__main__":
    main(sys.argv[1:])
