"""BERT4Rec."""
