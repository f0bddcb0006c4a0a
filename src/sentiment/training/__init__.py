"""The objective, the training loop, and the calibration."""
