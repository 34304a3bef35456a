"""A conversion that costs nothing, for the tests of where conversions are kept."""

IDENTITY = {"engine": "torch", "weights": "abc"}


class Builder:
    """Writes a file and counts how often."""

    def __init__(self, text="converted"):
        self.text, self.calls = text, 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "model.bin").write_text(self.text)
        return {"difference": 0.5}
