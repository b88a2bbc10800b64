"""Writes the int8 form that NNCF makes of an fp32 .onnx file for OpenVINO, with its defaults.

python benchmarks/_nncf.py SOURCE TARGET.xml
"""

import sys

import nncf
import numpy as np
import openvino

_IMAGES = 8


def main() -> None:
    source, target = sys.argv[1:]
    model = openvino.Core().read_model(source)
    shape = [d.get_length() if d.is_static else 1 for d in model.inputs[0].get_partial_shape()]
    model.reshape(shape)
    generator = np.random.default_rng(0)
    images = [generator.standard_normal(shape, np.float32) for _ in range(_IMAGES)]
    openvino.save_model(nncf.quantize(model, nncf.Dataset(images), subset_size=_IMAGES), target, compress_to_fp16=False)


if __name__ == "__main__":
    main()
