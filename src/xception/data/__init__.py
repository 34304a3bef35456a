"""Folders, stock data sets and the embedded one, turned into batches."""
