"""Where the time of one network goes: layer by layer, against what this machine can do."""
