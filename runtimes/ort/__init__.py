"""What the backends of ONNX Runtime share; each backend is a file of its own in the folder above.

`session.py` opens and runs, `bound.py` keeps buffers bound on the processor and `device.py` on a GPU, `entries.py` and
`options.py` say which engine options are passed on, `affinity.py` ties threads to processors, `optimised.py` keeps optimised
models and `packed.py` is their file, `trtcache.py` TensorRT's engines, `gpu.py` checks what a GPU needs, `plugins.py` finds
provider packages.
"""
