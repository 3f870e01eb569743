"""The cloud's half. grpc, ONNX Runtime and scipy; no torch."""
