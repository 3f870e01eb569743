"""From a trained model to a device artifact. Needs torch and onnx.

``recbole_cocorr.export`` is this folder and, of the front door, a function. Python gives a folder that is imported its
name in the package, so the folder can be called.
"""

import sys
from types import ModuleType
from typing import Any


class _Export(ModuleType):
    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """Write a trained model as an artifact for a device; see :func:`recbole_cocorr.export.export.export`."""
        from recbole_cocorr.base.extras import require

        require("export")
        from recbole_cocorr.export.export import export

        return export(*arguments, **settings)


sys.modules[__name__].__class__ = _Export
