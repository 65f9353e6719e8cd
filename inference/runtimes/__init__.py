"""What runs an exported file: torch, ONNX Runtime or ExecuTorch."""
