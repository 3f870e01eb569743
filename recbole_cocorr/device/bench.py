HISTORIES = (10, 50, 200, 1000)
MODELS = ("CoCorrRec", "GRU4Rec", "SASRec", "Mamba4Rec")
