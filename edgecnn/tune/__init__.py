"""Tuning: a model and a budget go in, the deployment that fits it comes out, or how near the nearest comes.

budget       what is asked for: latency, memory, energy, drop of top-1, size, throughput
candidates   one way to deploy: file, backend, preset, threads, batch, as a frozen value
space        what can be tried here, and the cheap rules by which parts of it are left out
halving      successive halving over a function that measures; pure
pareto       which points no other beats; pure
figures      what was measured of one candidate
choice       which point is taken; pure
explain      why none is, and how near the nearest comes; pure
measuring    candidates to figures, through `edgecnn.bench`
files        the model files of the forms, through `edgecnn.exporters`
variants     width and resolution of a family of the zoo
run          all of it
writing      the artifact and the deployment.toml that are left behind
"""
