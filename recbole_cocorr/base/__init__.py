"""What every other part may use: errors, files that are whole or absent, and one strict reader of files.

A module here imports the standard library and numpy alone; ``base.yaml_reader`` needs PyYAML too.
"""
