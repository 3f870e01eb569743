"""The cloud's half. torch and grpc."""
