"""The labels of the eleven pictures that the data verbs are tested on."""

COUNT = 11
CLASSES = ["cat", "dog", "sofa"]
LABELS = [[i % 3] if i % 2 else sorted({i % 3, (i + 1) % 3}) for i in range(COUNT)]
