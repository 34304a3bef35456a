import io

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, log_loss, top_k_accuracy_score

from xception.errors import InputError, RunFailedError
from xception.inference import Evaluation, evaluate
from xception.inference.classes import match_classes, require_classifier
from xception.inference.evaluation import read_evaluation
from xception.inference.scoring import score


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_evaluate_agrees_with_scikit_learn_whatever_the_batch(
    make_source, logits_in_pixels, whole_image, batch_size
):
    source, logits = make_source(101, 8)
    found = evaluate(logits_in_pixels(8), source, whole_image, batch_size=batch_size, device="cpu")
    classes = np.arange(8)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.num_images == 101
    assert found.top1 == np.mean(logits.argmax(axis=1) == source.labels)
    # scikit-learn puts the larger class number of equal logits first, this project the smaller:
    # turned round, both agree exactly.
    reference = top_k_accuracy_score(7 - source.labels, logits[:, ::-1], k=5, labels=classes)
    assert found.top5 == reference
    # logits of at most 10 in float32: log-softmax in float64 of float32 logits
    assert found.loss == pytest.approx(log_loss(source.labels, probabilities), rel=1e-6)
    assert (found.confusion == confusion_matrix(source.labels, logits.argmax(axis=1))).all()


def test_evaluate_ranks_equal_a_scalar_count(make_source, logits_in_pixels, whole_image):
    source, logits = make_source(60, 8)
    found = evaluate(logits_in_pixels(8), source, whole_image, device="cpu")
    for row in range(60):
        own = logits[row, source.labels[row]]
        before = sum(
            logits[row, c] > own or (logits[row, c] == own and c < source.labels[row])
            for c in range(8)
        )
        assert found.ranks[row] == before


def test_evaluate_leaves_unreadable_images_out_and_names_them(
    make_source, logits_in_pixels, whole_image
):
    source, logits = make_source(20, 4, bad=(3, 11, 19))
    found = evaluate(logits_in_pixels(4), source, whole_image, batch_size=6, device="cpu")
    kept = np.setdiff1d(np.arange(20), [3, 11, 19])
    assert found.num_images == 17
    assert found.indices.tolist() == kept.tolist()
    assert found.top1 == np.mean(logits[kept].argmax(axis=1) == source.labels[kept])
    assert [index for index, _ in found.skipped] == [3, 11, 19]
    assert found.skipped[0][1] == "array image 3: the file is truncated"


def test_evaluate_without_a_readable_image_gives_no_figures(
    make_source, logits_in_pixels, whole_image
):
    source, _ = make_source(2, 4, bad=(0, 1))
    found = evaluate(logits_in_pixels(4), source, whole_image, device="cpu")
    assert found.figures() == {
        "images": 0, "skipped": 2, "top1": None, "top4": None, "loss": None
    }  # fmt: skip


def test_evaluate_counts_blacklisted_images_apart(make_source, logits_in_pixels, whole_image):
    source, logits = make_source(50, 4)
    source.blacklisted = {0, 7, 49}
    found = evaluate(logits_in_pixels(4), source, whole_image, device="cpu")
    kept = np.setdiff1d(np.arange(50), [0, 7, 49])
    right = logits.argmax(axis=1) == source.labels
    assert found.top1 == right.mean()
    assert found.without_blacklisted().top1 == right[kept].mean()
    assert found.without_blacklisted().num_images == 47


def test_evaluate_maps_the_datas_classes_to_the_models_by_name(
    make_source, logits_in_pixels, whole_image
):
    source, logits = make_source(40, 4)
    names = ["class 2", "class 0", "class 3", "class 1"]
    found = evaluate(logits_in_pixels(4), source, whole_image, class_names=names, device="cpu")
    place = np.array([1, 3, 0, 2])  # of the data's classes among the model's
    assert found.class_names == names
    assert found.labels.tolist() == place[source.labels].tolist()
    assert found.top1 == np.mean(logits.argmax(axis=1) == place[source.labels])


def test_evaluate_leaves_the_models_mode_and_the_random_numbers_alone(
    make_source, logits_in_pixels, whole_image
):
    source, _ = make_source(8, 4)
    model = torch.nn.Sequential(logits_in_pixels(4), torch.nn.Dropout())
    model.num_classes = 4
    model[0].eval()  # a frozen part stays frozen
    model[1].train()
    state = torch.get_rng_state()
    evaluate(model, source, whole_image, device="cpu")
    assert (model[0].training, model[1].training) == (False, True)
    assert torch.equal(torch.get_rng_state(), state)


def test_evaluate_reports_progress_up_to_the_end(make_source, logits_in_pixels, whole_image):
    source, _ = make_source(10, 4)
    calls = []
    evaluate(
        logits_in_pixels(4), source, whole_image, batch_size=4, device="cpu",
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert calls == [(4, 10), (8, 10), (10, 10)]


def test_evaluate_with_workers_gives_the_same_rows(make_source, logits_in_pixels, whole_image):
    source, _ = make_source(30, 4, bad=(5,))
    alone, shared = (
        evaluate(
            logits_in_pixels(4), source, whole_image, batch_size=4, num_workers=n, device="cpu"
        )
        for n in (0, 2)
    )
    assert alone.skipped == shared.skipped
    assert (alone.predictions == shared.predictions).all()
    assert (alone.losses == shared.losses).all()


def test_evaluate_stops_at_a_model_that_gives_nan(make_source, logits_in_pixels, whole_image):
    source, _ = make_source(5, 4)
    model = logits_in_pixels(4)
    model.register_forward_hook(lambda module, images, logits: logits * float("nan"))
    with pytest.raises(RunFailedError, match="array image 0 is not finite"):
        evaluate(model, source, whole_image, device="cpu")


def test_score_prefers_the_smaller_class_of_equal_logits():
    rows = score(torch.zeros(3, 4), torch.tensor([0, 1, 3]))
    assert rows["predictions"].tolist() == [0, 0, 0]
    assert rows["ranks"].tolist() == [0, 1, 3]
    assert rows["losses"].tolist() == pytest.approx([np.log(4)] * 3)
    assert rows["probabilities"].tolist() == [0.25] * 3


def test_figures_are_counted_by_hand(three_images):
    assert three_images.figures() == pytest.approx(
        {
            "images": 3,
            "skipped": 1,
            "top1": 2 / 3,
            "top2": 1.0,
            "loss": -np.log(0.9 * 0.8 * 0.4) / 3,
        }
    )
    assert three_images.accuracy_per_class.tolist() == [1.0, 0.5]
    assert three_images.images_per_class.tolist() == [1, 2]
    assert three_images.confusion.tolist() == [[1, 0], [1, 1]]


def test_accuracy_of_a_class_without_images_is_unknown(three_images):
    only_dogs = three_images.rows(three_images.labels == 1)
    assert np.isnan(only_dogs.accuracy_per_class[0])
    assert only_dogs.accuracy_per_class[1] == 0.5


def test_stored_evaluation_comes_back_equal(three_images):
    file = io.BytesIO()
    np.savez(file, **three_images.arrays(), blacklisted=np.array([False, True, False]))
    file.seek(0)
    found, arrays = read_evaluation(file)
    assert found.figures() == three_images.figures()
    assert found.class_names == ["cat", "dog"]
    assert found.skipped == three_images.skipped
    assert found.without_blacklisted().indices.tolist() == [0, 3]
    assert "indices" in arrays


def test_read_evaluation_refuses_other_files(tmp_path):
    for content in (b"", b"PK\x03\x04 damaged", b"text"):
        (tmp_path / "evaluation.npz").write_bytes(content)
        with pytest.raises(InputError, match="is not a stored evaluation"):
            read_evaluation(tmp_path / "evaluation.npz")


@pytest.mark.parametrize(
    ("model_names", "data_names", "message"),
    [
        (["a", "b"], ["a", "b", "c"], "has 2 classes and the data 3: the model does not know 'c'"),
        (["a", "b", "c"], ["a", "b"], "has 3 classes and the data 2: the data lacks 'c'"),
        (["a", "b"], ["a", "x"], "different classes: the model does not know 'x'"),
        (None, ["a", "b", "c"], "has 2 classes and the data 3;"),
        (["crane", "crane", "b"], ["b", "crane", "crane"], "several classes are called 'crane'"),
    ],
)
def test_match_classes_names_the_first_difference(model_names, data_names, message):
    with pytest.raises(InputError, match=message):
        match_classes(model_names, data_names, len(model_names or ["a", "b"]))


def test_match_classes_accepts_equal_lists_with_repeated_names():
    assert match_classes(["crane", "crane"], ["crane", "crane"], 2) == [0, 1]
    assert match_classes(None, ["a", "b"], 2) == [0, 1]


def test_require_classifier_refuses_what_can_not_classify_pictures(whole_image):
    from xception import Xception

    small = {"width": 0.125, "middle_flow_repeats": 0, "stem_strides": (1, 1)}
    with pytest.raises(InputError, match="no classifier"):
        require_classifier(Xception(num_classes=0, **small), whole_image)
    with pytest.raises(InputError, match="1 channels"):
        require_classifier(Xception(num_classes=2, in_channels=1, **small), whole_image)
    with pytest.raises(InputError, match="4 pixels"):
        require_classifier(Xception(num_classes=2, **small), whole_image)


def test_evaluation_rows_keep_every_column_in_step(three_images):
    chosen = three_images.rows(np.array([2, 0]))
    assert isinstance(chosen, Evaluation)
    assert (chosen.labels.tolist(), chosen.predictions.tolist()) == ([1, 0], [0, 0])
    assert chosen.indices.tolist() == [3, 0]
