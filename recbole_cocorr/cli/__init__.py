"""The command line: one verb in each file, named as the verb with ``_`` for ``-``.

A verb's module has a docstring, whose first line is its help, ``add_arguments(parser)`` and ``run(arguments) -> int``.
At the top it imports the standard library and ``recbole_cocorr.base`` alone; the rest it imports when it is called.
A name that begins with ``_`` is no verb.
"""
