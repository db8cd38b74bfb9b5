"""The flags of `dreambooth web`."""

from argparse import ArgumentTypeError
from pathlib import Path

from dreambooth.config.parser import Parser, between, model, path


def add_web_flags(command: Parser) -> None:
    """Add them to their command."""
    command.example = "dreambooth web runs --host 0.0.0.0"
    command.epilog = (
        "Runs are processes of their own: they go on when the page, or this command, is ended. It needs "
        "`pip install 'dreambooth[web]'`. On other addresses than this machine's own it asks for a key, which is in "
        "the link that it prints; the environment variable DREAMBOOTH_WEB_TOKEN sets one."
    )
    command.add_argument(
        "root", metavar="DIR", type=path, nargs="?", default=Path("runs"), help="folder of the runs [default: runs]"
    )
    help_ = "address to listen to; 0.0.0.0 for phones in the same network [default: 127.0.0.1, this machine alone]"
    command.add_argument("--host", type=_address, default="127.0.0.1", metavar="ADDRESS", help=help_)
    ports, help_ = between(0, 65535), "port to listen on [default: 7800; 0: any that is free]"
    command.add_argument("--port", type=ports, default=7800, metavar="N", help=help_)
    help_ = "another name by which browsers may call this machine, such as that of a proxy before it"
    command.add_argument("--allowed-host", dest="names", action="append", default=[], metavar="NAME", help=help_)
    help_ = "a base model of this machine to offer beside the published ones"
    command.add_argument("--offer", dest="models", type=model, action="append", default=[], metavar="MODEL", help=help_)


def _address(text: str) -> str:
    """An empty one would mean every address of this machine."""
    if not text.strip():
        raise ArgumentTypeError("is empty: give an address, or leave it out for this machine alone")
    return text
