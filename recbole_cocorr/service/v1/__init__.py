"""Version 1 of the service's messages; ``correction_pb2.py`` is made of ``correction.proto`` by ``make proto``."""
