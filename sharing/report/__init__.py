"""A page about training runs: curves, sheets, time-lapse, options."""
