"""A web service without a web framework of your own: start `edgecnn serve` and ask it over HTTP.

    python examples/web_service.py models/mobilenet_v1_0.25_32.int8.onnx shoe.png

An application on the same machine does what `ask` does; nothing but the standard library is needed for it.
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(base: str, server: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Return when the service answers; raise when it has ended or takes too long."""
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{base}/v2/health/ready", timeout=1).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise SystemExit("the service did not start")


def ask(base: str, image: Path) -> object:
    """Return what the service says of one image file."""
    request = urllib.request.Request(f"{base}/classify?top=3", data=image.read_bytes())
    request.add_header("Content-Type", "image/png")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def main() -> None:
    """Serve MODEL, ask about IMAGE, stop."""
    model, image = sys.argv[1:]
    base = f"http://127.0.0.1:{(port := free_port())}"
    with subprocess.Popen([sys.executable, "-m", "edgecnn", "serve", model, "--port", str(port)]) as server:
        try:
            wait_until_ready(base, server)
            print(json.dumps(ask(base, Path(image))))
        finally:
            server.terminate()  # requests that are under way are answered first


if __name__ == "__main__":
    main()
