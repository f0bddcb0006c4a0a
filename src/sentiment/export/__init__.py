"""Export a classifier to ONNX, for those who score without PyTorch."""
