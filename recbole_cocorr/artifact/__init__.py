"""The files on a device: manifest, arrays, vocabulary, item table. numpy alone."""
