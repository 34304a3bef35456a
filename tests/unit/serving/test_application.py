import pytest
import torch
from starlette.testclient import TestClient

from xception.errors import InputError
from xception.inference import predict
from xception.inference.classification import MostProbable
from xception.serving.application import create_application
from xception.serving.requests import MOST_IMAGES
from xception.serving.service import Limits, Service

LIMITS = Limits(batch_size=4, queue_size=80, request_bytes=50_000)


@pytest.fixture
def service(loaded):
    return Service(loaded, device="cpu", limits=LIMITS)


@pytest.fixture
def client(service):
    with TestClient(create_application(service, top_k=3), raise_server_exceptions=False) as client:
        yield client


def expected(loaded, encoded, tmp_path, k):
    """What `xception predict` says of the same file."""
    path = tmp_path / "image.png"
    path.write_bytes(encoded)
    (found,) = predict(loaded, [path], top_k=k, device="cpu")
    return found


def test_predict_answers_a_body_as_the_verb_predict_does(client, loaded, pictures, tmp_path):
    for encoded in pictures:
        answer = client.post("/predict", content=encoded)
        assert answer.status_code == 200
        told, right = answer.json()["predictions"], expected(loaded, encoded, tmp_path, 3)
        assert [one["class"] for one in told] == list(right.classes)
        assert [one["index"] for one in told] == list(right.indices)
        # A batch of one both times: the same arithmetic.
        assert [one["probability"] for one in told] == list(right.probabilities)


def test_predict_answers_the_files_of_a_form_in_their_order(client, loaded, pictures, tmp_path):
    files = [("image", (f"{i}.png", encoded)) for i, encoded in enumerate(pictures)]
    files.insert(2, ("image", ("ü.txt", b"no image")))
    answer = client.post("/predict?top_k=7", files=files, data={"note": "no file"})
    assert answer.status_code == 200
    told = answer.json()["images"]
    assert [one["name"] for one in told] == ["0.png", "1.png", "ü.txt", "2.png", "3.png", "4.png"]
    assert told.pop(2) == {"name": "ü.txt", "error": "it is not an image of a known format"}
    for one, encoded in zip(told, pictures, strict=True):
        right = expected(loaded, encoded, tmp_path, 7)
        found = [row["probability"] for row in one["predictions"]]
        # The batch's size decides in which order a convolution adds.
        assert found == pytest.approx(list(right.probabilities), abs=1e-6)
        assert sum(found) == pytest.approx(1, abs=1e-5)


def test_predict_takes_the_bytes_whatever_a_body_is_called(client, pictures):
    for kind in ("application/x-www-form-urlencoded", "image/jpeg", "text/plain"):  # curl's first
        answer = client.post("/predict", content=pictures[0], headers={"Content-Type": kind})
        assert answer.status_code == 200, kind


def test_predict_names_as_many_classes_as_are_asked_for_or_there_are(client, pictures):
    for query, count in (("", 3), ("?top_k=1", 1), ("?top_k=99999999999999", 7)):
        told = client.post(f"/predict{query}", content=pictures[0]).json()
        assert len(told["predictions"]) == count


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", "", "²"])
def test_predict_refuses_a_number_of_classes_that_is_none(client, pictures, given):
    answer = client.post(f"/predict?top_k={given}", content=pictures[0])
    assert (answer.status_code, "whole number" in answer.json()["error"]) == (400, True)


def test_predict_says_why_it_can_not_answer(client, pictures):
    def error(**sent):
        answer = client.post("/predict", **sent)
        return answer.status_code, answer.json()["error"]

    assert error(content=b"") == (400, "the body is empty; send the bytes of an image file")
    assert error(content=pictures[0][:60])[0] == 400
    assert error(content=b"no image") == (400, "it is not an image of a known format")
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert error(content=b"no form", headers=form) == (
        400,
        "the form can't be read: Invalid multipart data; "
        "send images as its files (curl -F image=@…)",
    )
    assert error(data={"a": "b"}, files=[("c", ("", b""))])[0] == 400
    status, told = error(files=[("image", ("i", b"x"))] * (MOST_IMAGES + 1))
    assert (status, "Too many files" in told) == (400, True)


def test_predict_refuses_an_image_above_the_limit_of_pixels(loaded, pictures):
    for most, status in ((40 * 50, 200), (40 * 50 - 1, 400)):
        service = Service(loaded, device="cpu", limits=Limits(image_pixels=most))
        with TestClient(create_application(service)) as client:
            answer = client.post("/predict", content=pictures[0])
        assert answer.status_code == status
    assert "2,000 pixels, more than the limit of 1,999" in answer.json()["error"]


def test_predict_gives_400_where_no_file_of_a_form_is_an_image(client):
    answer = client.post("/predict", files={"image": ("a.txt", b"no image")})
    assert answer.status_code == 400
    assert answer.json()["images"][0]["error"] == "it is not an image of a known format"


def test_predict_refuses_a_body_above_the_limit_announced_or_not(client):
    too_much = b"\0" * (LIMITS.request_bytes + 1)
    for sent in (too_much, iter([too_much[:30_000], too_much[30_000:]])):
        answer = client.post("/predict", content=sent)
        assert answer.status_code == 413
        assert "50,000 bytes" in answer.json()["error"]
    answer = client.post("/predict", content=too_much[:-1])
    assert answer.status_code == 400  # exactly the limit is read, and no image


def test_predict_tells_of_nan_as_a_failure_and_goes_on(client, service, pictures):
    nan = MostProbable([0, 1, 2], [float("nan")] * 3)
    right = service._batcher._classify
    service._batcher._classify = lambda crops, k: [nan] * len(crops)
    answer = client.post("/predict", content=pictures[0])
    assert answer.status_code == 500
    assert "NaN; its weights are damaged" in answer.json()["error"]
    service._batcher._classify = right
    assert client.post("/predict", content=pictures[0]).status_code == 200


def test_predict_hides_the_reason_of_an_unforeseen_error(client, service, pictures):
    def fail(crops, k):
        raise ZeroDivisionError("a secret")

    service._batcher._classify = fail
    answer = client.post("/predict", content=pictures[0])
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed on this; its log tells more"}


def test_application_tells_what_it_serves_and_that_it_is_ready(client, loaded):
    assert client.get("/health").json() == {"status": "ready"}
    told = client.get("/model").json()
    assert told["classes"] == loaded.class_names
    assert (told["model"], told["engine"], told["device"]) == ("xception", "torch", "cpu")
    assert told["preprocessing"]["size"] == 32
    assert told["multi_label"] is False
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "://" not in page.text  # it needs nothing from elsewhere


def test_application_tells_of_addresses_that_it_does_not_have(client):
    assert client.get("/nowhere").status_code == 404
    assert client.get("/model/").status_code == 404  # no redirection, which few clients follow
    assert "nothing at /nowhere" in client.get("/nowhere").json()["error"]
    assert client.get("/predict").status_code == 405
    assert client.get("/predict").json() == {"error": "this address takes POST"}


def test_metrics_count_images_by_their_outcome(client, service, pictures):
    for sent in (*pictures, b"no image"):
        client.post("/predict", content=sent)
    text = client.get("/metrics").text.splitlines()
    assert 'xception_images_total{outcome="classified"} 5.0' in text
    assert 'xception_images_total{outcome="unreadable"} 1.0' in text
    assert "xception_request_seconds_count 6.0" in text
    assert "xception_batch_images_sum 5.0" in text
    assert "xception_waiting_images 0.0" in text
    assert service.statistics.count("classified") == 5


def test_application_asks_for_its_token_where_it_has_one(service, pictures):
    with TestClient(create_application(service, token="s3crét")) as client:

        def statuses(**headers):
            sent = {key: value.encode() for key, value in headers.items()}
            return [
                client.post("/predict", content=pictures[0], headers=sent).status_code,
                client.get("/model", headers=sent).status_code,
                client.get("/metrics", headers=sent).status_code,
            ]

        assert statuses() == [401] * 3
        assert statuses(Authorization="Bearer wrong") == [401] * 3
        assert statuses(Authorization="Basic s3crét") == [401] * 3
        assert statuses(Authorization="s3crét") == [401] * 3
        assert statuses(Authorization="Bearer s3cré") == [401] * 3
        assert statuses(Authorization="Bearer s3crét") == [200] * 3
        assert statuses(Authorization="bearer  s3crét") == [200] * 3
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code == 200
        assert "Bearer" in client.get("/model").headers["WWW-Authenticate"]


def test_warm_up_runs_the_network_alone_and_in_a_full_batch(service, monkeypatch):
    sizes = []
    monkeypatch.setattr(service, "_classify", lambda crops, k: sizes.append(len(crops)))
    service.warm_up()
    assert sizes == [1, LIMITS.batch_size]


def test_service_and_application_refuse_values_out_of_range(service, loaded):
    for name in ("batch_size", "queue_size", "request_bytes", "image_pixels"):
        with pytest.raises(InputError, match=f"{name} is 0"):
            Limits(**{name: 0})
    with pytest.raises(InputError, match="top_k is 0"):
        create_application(service, top_k=0)
    with pytest.raises(InputError, match="token is empty"):
        create_application(service, token=" ")


def test_service_answers_several_labels_with_sigmoids(loaded, pictures):
    from dataclasses import replace

    several = replace(loaded, description=replace(loaded.description, multi_label=True))
    with TestClient(create_application(Service(several, device="cpu"), top_k=7)) as client:
        told = client.post("/predict", content=pictures[0]).json()["predictions"]
    from xception.data.decoding import decode_image

    image = loaded.preprocessing.normalize(loaded.preprocessing(decode_image(pictures[0]))[None])
    with torch.inference_mode():
        right = loaded.model.eval()(image)[0].sigmoid()
    found = {one["index"]: one["probability"] for one in told}
    assert [found[i] for i in range(7)] == pytest.approx(right.tolist(), abs=1e-6)
