"""Backend `trt`: TensorRT itself, 10.3 to 11.x and TensorRT for RTX by one code.

`backend` opens sessions, `builder` makes engines, `execution` runs them. `docs/tensorrt.md` is the page for users.
"""
