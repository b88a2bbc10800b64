"""A real server: its clients, its limits, its end."""

from __future__ import annotations

import errno
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgecnn
from edgecnn.images import read_image
from edgecnn.testing.models import TINY, read_reference

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., AbstractContextManager[Any]]
SOON_S = 60


def get(server: Any, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(server.url + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SOON_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def post(server: Any, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    status, text = get(server, path, method="POST", body=body, **headers)
    return status, json.loads(text)


def tensors(rows: int = 1) -> bytes:
    data = read_reference()["input"][:rows]
    return json.dumps(
        {"inputs": [{"name": "input", "datatype": "FP32", "shape": [*data.shape], "data": data.ravel().tolist()}]}
    ).encode()


INFER = "/v2/models/tiny/infer"


def test_what_the_protocol_asks_of_a_server(server: Any) -> None:
    for path, wanted in {
        "/v2": {"name": "edgecnn", "version": edgecnn.__version__, "extensions": ["binary_tensor_data"]},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/tiny/ready": {"name": "tiny", "ready": True},
        "/v2/models/tiny/versions/1/ready": {"name": "tiny", "ready": True},
    }.items():
        status, text = get(server, path)
        assert (status, json.loads(text)) == (200, wanted)
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        data = json.loads(get(server, path)[1])
        assert (data["name"], data["versions"], data["platform"]) == ("tiny", ["1"], "onnxruntime_onnx")
        assert data["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]
        assert data["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}]


def test_answers_are_the_models(server: Any) -> None:
    status, answer = post(server, "/v2/models/tiny/versions/1/infer", tensors(3))
    assert status == 200
    (output,) = answer["outputs"]
    assert (answer["model_name"], answer["model_version"], output["shape"]) == ("tiny", "1", [3, 3])
    np.testing.assert_allclose(np.reshape(output["data"], (3, 3)), read_reference()["logits"][:3], atol=1e-5)


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v2/models/other", 404, "unknown model 'other' (this server has tiny)"),
        ("GET", "/v2/models/tiny/versions/2", 404, "unknown version '2' of tiny (there is 1)"),
        ("POST", "/v2/models/other/infer", 404, "unknown model 'other' (this server has tiny)"),
        ("GET", "/nothing", 404, "there is nothing at '/nothing' (POST /classify, "),
        ("POST", "/v2/repository/index", 404, "there is nothing at '/v2/repository/index' (POST /classify, "),
        ("GET", "/classify", 405, "/classify: expected POST, got GET"),
        ("POST", "/v2", 405, "/v2: expected GET or HEAD, got POST"),
    ],
)
def test_unknown_paths_are_told_in_json(server: Any, method: str, path: str, status: int, error: str) -> None:
    got, text = get(server, path, method=method, body=b"{}" if method == "POST" else None)
    assert got == status
    assert json.loads(text)["error"].startswith(error)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "error"),
    [
        (INFER, b"", {}, 400, "the request: expected a JSON object, got no bytes (send {"),
        (INFER, b"{}", {}, 400, "inputs: expected a list of objects, got nothing (send {"),
        (INFER, b"{", {}, 400, "the request is not JSON: Expecting property name"),
        (INFER, b"{}\xff\xfe", {}, 400, "(binary data behind it need the header Inference-Header-Content-Length)"),
        (INFER, b"{}", {"inference_header_content_length": "9"}, 400, "expected 0 to 2, the length of the body, got 9"),
        (INFER, b"{}", {"inference_header_content_length": "x"}, 400, "expected a whole number of bytes, got x"),
        (INFER, b'{"inputs":[]}', {}, 400, "inputs: expected input, got none (GET /v2/models/tiny tells"),
        (INFER, tensors().replace(b"FP32", b"float32"), {}, 400, "datatype: expected one of BOOL, "),
        (INFER, tensors().replace(b"FP32", b"FP64"), {}, 400, "datatype: expected FP32, got FP64 (GET "),
        (INFER, tensors().replace(b"[1, 1,", b"[1,"), {}, 400, "shape: expected [-1, 1, 8, 8], got [1, 8, 8] (GET "),
        (INFER, tensors().replace(b"[1, 1,", b"[2, 1,"), {}, 400, "expected 128 values for shape [2, 1, 8, 8], got 64"),
        (INFER, tensors(9), {}, 400, "rows: expected at most 8, got 9 (split the request"),
        (INFER, b'{"inputs":[],"parameters":{"timeout":-1}}', {}, 400, "whole number of microseconds above 0, got -1"),
        ("/classify", b"", {"content_type": "image/png"}, 400, "the image: expected an image file, got no bytes (send"),
        ("/classify", b"hello", {"content_type": "image/png"}, 415, "not an image of a known format (known: BMP, "),
        ("/classify", b"P6 2 2 255\nab", {"content_type": "image/x-any"}, 400, "cut short: expected 12 bytes, got 2"),
        ("/classify", b"x", {"content_type": "text/plain"}, 415, "got text/plain (send the image file as it is"),
        ("/classify", b"x", {"content_type": "multipart/form-data"}, 400, "expected a form's boundary, got none (let"),
        ("/classify", b"x", {"content_encoding": "br"}, 415, "expected no Content-Encoding, got br (send it as it is)"),
    ],
)
def test_a_refusal_says_what_was_expected_and_what_came(
    server: Any, path: str, body: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    got, answer = post(server, path, body, **headers)
    assert list(answer) == ["error"]
    assert (got, error in answer["error"]) == (status, True), answer
    assert "\n" not in answer["error"]
    assert server.said().count("\n") == 2, "only its two lines at the start"


@pytest.mark.parametrize("query", ["?top=0", "?top=-1", "?top=a", "?top=1.5", "?top=" + "9" * 50])
def test_a_bad_top_is_400(server: Any, shoe: Path, query: str) -> None:
    status, answer = post(server, f"/classify{query}", shoe.read_bytes(), content_type="image/png")
    assert status == 400
    assert answer["error"].startswith("top: expected")


def test_tritons_client_works(server: Any) -> None:
    pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    import tritonclient.http as triton

    reference = read_reference()
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        assert client.is_model_ready("tiny", "1")
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        assert client.get_model_metadata("tiny")["inputs"][0]["shape"] == [-1, 1, 8, 8]
        for binary_in, binary_out in ((True, True), (True, False), (False, True), (False, False), (True, None)):
            source = triton.InferInput("input", [2, 1, 8, 8], "FP32")
            source.set_data_from_numpy(reference["input"][:2], binary_data=binary_in)
            wanted = None if binary_out is None else [triton.InferRequestedOutput("logits", binary_data=binary_out)]
            result = client.infer("tiny", [source], outputs=wanted, request_id="17", timeout=10_000_000)
            np.testing.assert_allclose(result.as_numpy("logits"), reference["logits"][:2], atol=1e-5)
            assert result.get_response()["id"] == "17"
        with pytest.raises(triton.InferenceServerException, match="unknown model 'other'"):
            client.infer("other", [source])
        source = triton.InferInput("input", [1, 1, 8, 8], "FP64")
        source.set_data_from_numpy(np.zeros((1, 1, 8, 8)))
        with pytest.raises(triton.InferenceServerException, match="expected FP32, got FP64"):
            client.infer("tiny", [source])


def test_curl_sends_an_image(server: Any, shoe: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    wanted = edgecnn.load(TINY).classify(read_image(shoe), top=2)
    content = f"@{shoe}"
    for how in (["-F", f"image={content}"], ["--data-binary", content, "-H", "content-type: image/png"]):
        done = subprocess.run(["curl", "-sS", *how, f"{server.url}/classify?top=2"], capture_output=True, check=True)
        answer = json.loads(done.stdout)
        assert answer["model"] == "tiny"
        assert [one["label"] for one in answer["predictions"]] == [one.label for one in wanted]
        assert answer["predictions"][0]["probability"] == pytest.approx(wanted[0].probability, rel=1e-4)
    ready = subprocess.run(["curl", "-sSf", f"{server.url}/v2/health/ready"], capture_output=True, check=True)
    assert json.loads(ready.stdout) == {"ready": True}


def test_metrics_count_what_was_answered(start_server: Start, shoe: Path) -> None:
    with start_server() as server:
        for _ in range(3):
            post(server, "/classify", shoe.read_bytes(), content_type="image/png")
        post(server, "/v2/models/tiny/infer", b"{}")
        text = get(server, "/metrics")[1].decode()
        values = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"
        }
        rss_bytes = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096
    assert values['edgecnn_requests_total{route="/classify",status="200"}'] == 3
    assert values['edgecnn_requests_total{route="/v2/models/{name}/infer",status="400"}'] == 1
    assert values['edgecnn_request_seconds_count{route="/classify"}'] == 3
    assert values['edgecnn_batcher_requests_total{outcome="answered"}'] == 3
    assert values['edgecnn_batch_rows_bucket{le="1.0"}'] == 3
    assert values["edgecnn_batch_rows_count"] == values["edgecnn_batch_rows_sum"] == 3
    assert values["edgecnn_in_flight"] == values["edgecnn_queue"] == 0
    assert values["edgecnn_ready"] == 1
    assert values["process_resident_memory_bytes"] == pytest.approx(rss_bytes, rel=0.2)


def head(server: Any, *lines: str) -> socket.socket:
    connection = socket.create_connection((server.host, server.port), timeout=SOON_S)
    text = "\r\n".join(["POST /classify HTTP/1.1", "host: x", "content-type: image/png", *lines, "", ""])
    connection.sendall(text.encode())
    return connection


def until_closed(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while chunk := connection.recv(65536):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(server: Any) -> None:
    with head(server, "content-length: 100000000000") as connection:
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'{"error":"the body: expected at most 100000 bytes, got 100000000000 (send less at once)"}' in answer
    assert b"connection: close" in answer.lower()


def test_a_body_without_a_length_is_read_to_the_limit_only(server: Any) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    sent = 0
    with head(server, "transfer-encoding: chunked") as connection:
        try:
            while sent < 1000:
                connection.sendall(chunk)
                sent += 1
        except OSError as error:
            assert error.errno in (errno.EPIPE, errno.ECONNRESET)
    # The kernel's buffers on both sides take some megabytes; 65 would have been all.
    assert sent < 300
    status, answer = post(server, "/classify", bytes(100_001), content_type="image/png")
    assert (status, answer["error"]) == (413, "the body: expected at most 100000 bytes, got 100001 (send less at once)")


def test_a_decompression_bomb_is_refused_by_its_header(server: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("1", (4_000, 4_000)).save(tmp_path / "bomb.png")
    bomb = (tmp_path / "bomb.png").read_bytes()
    assert len(bomb) < 100_000
    status, answer = post(server, "/classify", bomb, content_type="image/png")
    assert status == 413
    assert "expected at most 10000 pixels, got 4000 x 4000 (scale it down" in answer["error"]


def test_compressed_bodies_are_415(server: Any) -> None:
    assert post(server, "/classify", b"x", content_type="image/png", content_encoding="gzip")[0] == 415


def test_answers_of_many_clients_are_their_own(server: Any) -> None:
    reference = read_reference()

    def client(seed: int) -> None:
        connection = HTTPConnection(server.host, server.port, timeout=SOON_S)
        for i in np.random.default_rng(seed).integers(0, 16, 40):
            row = reference["input"][i : i + 1]
            head = json.dumps(
                {
                    "inputs": [
                        {
                            "name": "input",
                            "datatype": "FP32",
                            "shape": [1, 1, 8, 8],
                            "parameters": {"binary_data_size": row.nbytes},
                        }
                    ],
                    "parameters": {"binary_data_output": True},
                }
            ).encode()
            connection.request(
                "POST",
                "/v2/models/tiny/infer",
                head + row.tobytes(),
                {"Inference-Header-Content-Length": str(len(head))},
            )
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == 200
            logits = np.frombuffer(content[int(answer.headers["Inference-Header-Content-Length"]) :], np.float32)
            np.testing.assert_allclose(logits, reference["logits"][i], atol=1e-5)
        connection.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(client, range(8)))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_requests_in_flight_are_answered_before_the_end(start_server: Start, shoe: Path, number: int) -> None:
    body = shoe.read_bytes()
    with start_server("--drain", "1") as server:
        slow = head(server, f"content-length: {len(body)}")
        slow.sendall(body[:100])
        time.sleep(0.2)
        server.process.send_signal(number)
        status = 200
        end = time.monotonic() + SOON_S
        while status == 200 and time.monotonic() < end:
            status = get(server, "/v2/health/ready")[0]
        assert status == 503
        assert post(server, "/classify", body, content_type="image/png")[0] == 200
        until(lambda: not accepts(server))
        slow.sendall(body[100:])
        answer = until_closed(slow)
        slow.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"predictions"' in answer
        assert server.process.wait(SOON_S) == 0
        assert "ended; every request that had arrived was answered" in server.said()
        assert "Traceback" not in server.said()


@pytest.mark.slow
def test_nothing_is_lost_when_a_busy_server_ends(start_server: Start) -> None:
    """Clients that stop when they see the server not ready have had an answer to all they sent."""
    body = tensors()
    lost: list[object] = []
    answered: list[int] = []
    with start_server("--drain", "1.5", "--max-wait-ms", "20") as server:
        ending = threading.Event()

        def client(_: int) -> None:
            connection = HTTPConnection(server.host, server.port, timeout=SOON_S)
            while not ending.is_set():
                try:
                    connection.request("POST", "/v2/models/tiny/infer", body)
                    answer = connection.getresponse()
                    answer.read()
                    answered.append(answer.status)
                except OSError as error:
                    lost.append(error)
            connection.close()

        with ThreadPoolExecutor(8) as threads:
            clients = [threads.submit(client, i) for i in range(8)]
            until(lambda: len(answered) > 50)
            server.process.terminate()
            until(lambda: get(server, "/v2/health/ready")[0] == 503)
            ending.set()
            for one in clients:
                one.result(SOON_S)
        assert server.process.wait(SOON_S) == 0
    assert lost == []
    assert set(answered) == {200}


@pytest.mark.slow
def test_a_second_signal_does_not_wait(start_server: Start) -> None:
    with start_server("--drain", "60") as server, head(server, "content-length: 1000"):
        server.process.terminate()
        until(lambda: get(server, "/v2/health/ready")[0] == 503)
        server.process.terminate()
        server.process.wait(SOON_S)
        assert "ended; requests in flight that had no answer: 1" in server.said()
        assert "every request" not in server.said()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def accepts(server: Any) -> bool:
    try:
        socket.create_connection((server.host, server.port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_port_in_use_is_one_line_and_4(server: Any, run_edgecnn: Run) -> None:
    done = run_edgecnn("serve", str(TINY), "--port", str(server.port))
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        f"error: port {server.port} of 127.0.0.1 is in use",
        f"hint: --port {server.port + 1}; --port 0 takes any that is free",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["no.onnx", "--port", "0"], 2, "no.onnx does not exist"),
        ([str(TINY), "--host", "192.0.2.1"], 2, "expected an address of this machine, got 192.0.2.1"),
        ([str(TINY), "--host", "no.such.host.invalid"], 2, "expected an address of this machine"),
        ([str(TINY), "--backend", "null"], 2, "expected one that computes"),
        ([str(TINY), "--backend", "cpux"], 2, "unknown backend 'cpux'"),
        ([str(TINY), "--preset", "fast"], 2, "unknown preset 'fast'"),
        ([str(TINY), "--max-batch", "0"], 2, "--max-batch"),
    ],
)
def test_bad_options(run_edgecnn: Run, arguments: list[str], code: int, text: str) -> None:
    for name in ("starlette", "uvicorn"):
        pytest.importorskip(name)
    done = run_edgecnn("serve", "--port", "0", *arguments)
    assert done.returncode == code
    assert text in done.stderr


@pytest.mark.slow
def test_auto_tells_its_choice(start_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with start_server("--backend", "auto") as server:
        chosen = re.search(r"^backend (\S+) for tiny.onnx: ", server.said(), re.M)
        assert chosen
        assert f"tiny on {chosen[1]}, {server.url}" in server.said()


@pytest.mark.slow
def test_other_machines_are_warned_of(start_server: Start) -> None:
    with start_server("--host", "0.0.0.0") as server:
        assert "warning: whoever reaches 0.0.0.0 may use this server" in server.said()
    with start_server("--host", "127.0.0.2") as server:
        assert "warning" not in server.said()
        assert server.url.startswith("http://127.0.0.2:")


def test_a_missing_package_is_named_with_its_extra(run_edgecnn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecnn.cli.serve.find_spec", lambda name: None)
    done = run_edgecnn("serve", str(TINY))
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "error: edgecnn serve needs the package starlette",
        "hint: pip install 'edgecnn[serve]'",
    ]


def mutated(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        kind = rng.randrange(4)
        at = rng.randrange(max(1, len(data)))
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del data[at : at + rng.randint(1, 30)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 30))
        else:
            data = data[:at] or bytearray(b"\0")
    return bytes(data)


def fuzz(server: Any, shoe: Path, count: int, seed: int) -> dict[int, int]:
    """Send damaged images, forms and requests for inference; return how many got which status."""
    rng = random.Random(seed)
    pillow = pytest.importorskip("PIL.Image")
    images = {"image/png": shoe.read_bytes(), "image/x-portable-pixmap": b"P6 9 9 255\n" + rng.randbytes(243)}
    for kind in ("jpeg", "bmp", "gif", "webp", "tiff"):
        path = shoe.with_suffix(f".{kind}")
        pillow.open(shoe).save(path)
        images[f"image/{kind}"] = path.read_bytes()
    form = b'--abc\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + images["image/png"] + b"\r\n--abc--\r\n"
    bodies = [("/classify", {"content_type": kind}, body) for kind, body in images.items()]
    bodies.append(("/classify", {"content_type": "multipart/form-data; boundary=abc"}, form))
    bodies.append(("/v2/models/tiny/infer", {}, tensors()))
    binary = json.dumps(
        {
            "inputs": [
                {"name": "input", "datatype": "FP32", "shape": [1, 1, 8, 8], "parameters": {"binary_data_size": 256}}
            ]
        }
    ).encode()
    bodies.append(
        ("/v2/models/tiny/infer", {"Inference_Header_Content_Length": str(len(binary))}, binary + rng.randbytes(256))
    )
    found: dict[int, int] = {}
    for i in range(count):
        path, headers, body = bodies[i % len(bodies)]
        status, _ = post(server, path, mutated(body, rng), **headers)
        found[status] = found.get(status, 0) + 1
    return found


def test_damaged_requests_are_refused_and_the_server_lives(server: Any, shoe: Path) -> None:
    found = fuzz(server, shoe, 300, seed=1)
    assert set(found) <= {200, 400, 413, 415}, found
    assert found[400] > 100
    assert server.process.poll() is None
    assert get(server, "/v2/health/ready")[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_two_thousand_damaged_requests(server: Any, shoe: Path, seed: int) -> None:
    found = fuzz(server, shoe, 500, seed)
    assert set(found) <= {200, 400, 413, 415}, found
    assert server.process.poll() is None
    assert "Traceback" not in server.said()


def test_what_is_no_http_is_refused_and_the_server_lives(server: Any) -> None:
    rng = random.Random(7)
    line = b"POST /classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 4\r\n\r\nabcd"
    for _ in range(60):
        with socket.create_connection((server.host, server.port), timeout=SOON_S) as connection:
            connection.sendall(mutated(line, rng))
            connection.shutdown(socket.SHUT_WR)
            answer = until_closed(connection)
        assert answer[9:10] in (b"", b"4"), answer
    assert get(server, "/v2/health/ready")[0] == 200
    assert "Traceback" not in server.said()
