"""A web service without a web framework of your own: start `edgecnn serve` and ask it over HTTP.

    python examples/web_service.py models/mobilenet_v1_0.25_32.int8.onnx shoe.png

An application on the same machine does what `ask` does; nothing but the standard library is needed for it.
"""

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path


def start(model: str) -> "tuple[subprocess.Popen[str], str]":
    """Return a server that answers, and its URL."""
    command = [sys.executable, "-m", "edgecnn", "serve", model, "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        print(line, end="", file=sys.stderr)
        if line.startswith("ready on "):
            return server, line.removeprefix("ready on ").strip()
    raise SystemExit("error: the service did not start")


def ask(base: str, image: bytes) -> object:
    """Return what the service says of the content of an image file."""
    request = urllib.request.Request(f"{base}/classify?top=3", image, {"Content-Type": "application/octet-stream"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"error: {json.load(error)['error']}") from None


def main() -> None:
    """Serve MODEL, ask about IMAGE, stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("image", type=Path)
    asked = parser.parse_args()
    image = asked.image.read_bytes()
    server, base = start(asked.model)
    try:
        print(json.dumps(ask(base, image)))
    finally:
        server.terminate()  # requests that are under way are answered first
        server.communicate()


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"error: {error}")
