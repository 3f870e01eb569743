"""The device's half: asks the service and goes on without it. numpy and grpc."""
