"""For tests of edgecnn and of packages that extend it: fakes, models with known answers, the conformance suite."""
