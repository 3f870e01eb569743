"""CoCorrRec for RecBole: device-cloud collaborative correction for on-device recommendation.

Importing this package is cheap on purpose: it loads neither torch nor RecBole, because parts of it
run where neither is installed.
"""

__version__ = "0.1.0"
