"""From a trained model to a device artifact. Needs torch and onnx."""
