"""From a trained model to an artifact for a device. Needs torch and onnx."""
