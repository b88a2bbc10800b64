"""Networks that are not of the zoo: any torch module, and any .onnx file with a CNN classifier in it.

`factory.export_factory` takes `pkg.module:name`, `file.export_file` takes a file; both end in the same artifact as a network
of the zoo.
"""
