"""`edgecnn serve`: one model behind HTTP, by the Open Inference Protocol (KServe v2), and images to /classify.

`protocol` and `uploads` turn bytes into arrays and back, `service` has the model, `app` the routes, `limits` what is
refused, `metrics` the figures, `server` the process around it.
"""
