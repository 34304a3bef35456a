"""Random evaluations: few score values (so that ties are common), masks, weights, empty images."""

from dataclasses import dataclass

from hypothesis import strategies as st


@dataclass
class Case:
    scores: list[list[float]]
    labels: list[list[int]]
    annotated: list[list[bool]] | None
    weights: list[float]
    k: int

    @property
    def num_classes(self):
        return len(self.weights)


@st.composite
def cases(draw, masks=True):
    num_images = draw(st.integers(1, 6))
    num_classes = draw(st.integers(1, 7))
    score = st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0, 3.0]) | st.floats(-4, 4, width=32)
    scores = draw(
        st.lists(
            st.lists(score, min_size=num_classes, max_size=num_classes),
            min_size=num_images,
            max_size=num_images,
        )
    )
    annotated = None
    if masks and draw(st.booleans()):
        row = st.lists(st.booleans(), min_size=num_classes, max_size=num_classes)
        annotated = draw(st.lists(row, min_size=num_images, max_size=num_images))
    labels = []
    for i in range(num_images):
        allowed = [c for c in range(num_classes) if annotated is None or annotated[i][c]]
        labels.append(draw(st.lists(st.sampled_from(allowed), unique=True)) if allowed else [])
    weight = st.sampled_from([0.0, 1.0, 2.0, 0.25])
    weights = draw(
        st.lists(weight, min_size=num_classes, max_size=num_classes).filter(lambda ws: any(ws))
    )
    return Case(scores, labels, annotated, weights, draw(st.integers(1, num_classes)))
