"""The results of measurements: plain data, each with one file and one text for the terminal."""
