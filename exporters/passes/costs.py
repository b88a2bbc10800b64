"""What nodes cost in int8: the small model by which a rewrite is applied only where it pays.

It knows ONNX Runtime's int8 kernels on x86-64 with VNNI, one thread, batch 1, in nanoseconds of one core of an AMD Zen 5.
Other processors differ by a factor, which decisions survive as they compare int8 with int8.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The constants of the model, each the slope of a series of shapes that networks have, 7 x 7 to 112 x 112.

    Attributes:
        multiply_adds_per_ns: of a convolution of one group.
        node_ns: of any node, whatever it does.
        group_run_ns: of a grouped convolution, per pixel, group, and pixel that is read or written for these: each group's
            channels are gathered and scattered.
        group_element_ns: the same per value.
        window_element_ns: of a depthwise convolution of 3 x 3, per value and pixel of the window.
        ragged_element_ns: the same where the channels are not a multiple of `least_channels`, beside that of 1 x 1.
        pointwise_element_ns: of a depthwise convolution of 1 x 1, per value.
        average_element_ns: of QLinearAveragePool, per value and pixel of the window.
        norm_element_ns: of DequantizeLinear, BatchNormalization, QuantizeLinear and the two transpositions around, per value.
        shuffle_element_ns: of a transposition of bytes, per value.
        widening_pixel_ns: of a further channel for pixels: two transpositions and a Pad of bytes, per pixel.
        copied_byte_ns: of a Concat, per byte.
        grouped_products: so many times the products of a first layer take no longer, if it makes several of its outputs as one
            of more channels.
        least_channels: output channels that the direct kernels (MlasConvSym) work on at a time; with fewer, a convolution of
            several pixels is not quantized.
    """

    multiply_adds_per_ns: float
    node_ns: float
    group_run_ns: float
    group_element_ns: float
    window_element_ns: float
    ragged_element_ns: float
    pointwise_element_ns: float
    average_element_ns: float
    norm_element_ns: float
    shuffle_element_ns: float
    widening_pixel_ns: float
    copied_byte_ns: float
    grouped_products: float
    least_channels: int

    def convolution(self, pixels: int, inputs: int, outputs: int, window: int, groups: int) -> float:
        """Return nanoseconds of a convolution that is not depthwise.

        Args:
            pixels: of the output, height times width.
            inputs: channels read.
            outputs: channels written.
            window: pixels that one output sees.
            groups: 1 for all to all.
        """
        products = self.node_ns + pixels * inputs * outputs * window / groups / self.multiply_adds_per_ns
        if groups == 1:
            return products
        runs, values = groups * (window + 1), inputs * window + outputs
        return products + pixels * (runs * self.group_run_ns + values * self.group_element_ns)

    def depthwise(self, elements: int, window: int, *, aligned: bool = True) -> float:
        """Return nanoseconds of a depthwise convolution with that many values as its output.

        Args:
            elements: values of the output.
            window: pixels that one output sees.
            aligned: the channels are a multiple of `least_channels`.
        """
        if aligned:
            each = self.pointwise_element_ns if window == 1 else window * self.window_element_ns
        else:
            each = self.pointwise_element_ns + window * self.ragged_element_ns
        return self.node_ns + elements * each

    def average(self, elements: int, window: int) -> float:
        """Return nanoseconds of an average pooling in int8 with that many values as its output."""
        return self.node_ns + elements * window * self.average_element_ns

    def float_norm(self, elements: int) -> float:
        """Return nanoseconds of a batch normalization of that many values in float, and of the way there and back."""
        return 5 * self.node_ns + elements * self.norm_element_ns

    def shuffle(self, elements: int) -> float:
        """Return nanoseconds of a channel shuffle of that many values: two Reshapes and a Transpose."""
        return 3 * self.node_ns + elements * self.shuffle_element_ns

    def widening(self, pixels: int) -> float:
        """Return nanoseconds of a further channel for so many pixels."""
        return 5 * self.node_ns + pixels * self.widening_pixel_ns

    def border(self, sides: int, copied: int) -> float:
        """Return nanoseconds of constants around an image, of any number of images.

        Args:
            sides: 1 for rows or columns, 2 for both.
            copied: bytes that are moved for it.
        """
        return 4 * sides * self.node_ns + copied * self.copied_byte_ns


INT8_COSTS = Costs(
    multiply_adds_per_ns=330.0,
    node_ns=1000.0,
    group_run_ns=4.0,
    group_element_ns=0.06,
    window_element_ns=0.03,
    ragged_element_ns=0.08,
    pointwise_element_ns=0.12,
    average_element_ns=0.64,
    norm_element_ns=0.5,
    shuffle_element_ns=0.25,
    widening_pixel_ns=2.0,
    copied_byte_ns=0.05,
    grouped_products=1.7,
    least_channels=16,
)
"""Measured with onnxruntime 1.31.1 on an AMD Zen 5 (AVX-512, VNNI), one thread, November 2026: chains of quantized nodes
between 1 x 1 convolutions, with the node and without it in turn, least of several rounds of the thread's own time.

| constant | series | spread |
| --- | --- | --- |
| multiply_adds_per_ns | 240 to 60 channels at 28 x 28 ... 1536 to 384 at 7 x 7 | 275 to 390 |
| group_run_ns | the same in 2, 3, 4 and 8 groups, less the products; 3 x 3 in 32 groups, 128 to 1024 channels | 2.8 to 6 |
| group_element_ns | the same, what is left | 0.03 to 0.12 |
| window_element_ns | 3 x 3 on 128 at 56 x 56 ... 1024 at 7 x 7 | 0.023 to 0.038 |
| ragged_element_ns | 3 x 3 and 5 x 5 on 72 at 56 x 56, 120 at 28 x 28, 58 at 28 x 28, 184 at 14 x 14 | 0.06 to 0.14 |
| pointwise_element_ns | 1 x 1 on 64 at 56 x 56 ... 1024 at 7 x 7 | 0.08 to 0.15 |
| average_element_ns | 3 x 3 on 128 at 56 x 56 ... 512 at 14 x 14 | 0.61 to 0.72 |
| norm_element_ns | 128 at 56 x 56 ... 512 at 14 x 14 | 0.43 to 0.54 |
| widening_pixel_ns | 48 x 48 ... 224 x 224 pixels, from the profile | 1.5 to 2.5 |
| copied_byte_ns | the same | 0.04 to 0.06 |
| grouped_products | first layers of 3 x 3 (stride 1 and 2) to 11 x 11, 48 x 48 to 224 x 224 pixels | 0.8 to 1.7, all gain |
| shuffle_element_ns | 60 channels at 28 x 28 ... 384 at 7 x 7, 2, 3 and 8 groups | 0.14 to 0.6 |

QLinearGlobalAveragePool costs nothing that could be measured, the same in float with the way there and back 30 to 60
microseconds: it stays what it is.
"""
