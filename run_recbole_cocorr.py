"""Train and evaluate a sequential model: python run_recbole_cocorr.py --model=CoCorrRec --dataset=ml-100k."""

import sys

from recbole_cocorr.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
