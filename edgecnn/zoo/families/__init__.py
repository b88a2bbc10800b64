"""The families: one .py (torch) and one .toml (facts, no torch) each; `blocks` and `residual` are what they share."""
