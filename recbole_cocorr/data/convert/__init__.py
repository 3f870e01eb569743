"""Raw public files to atomic files (``pipeline``); a check of atomic files (``check``)."""
