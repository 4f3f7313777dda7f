"""How good a generator is: one file per metric, detectors, features, results."""
