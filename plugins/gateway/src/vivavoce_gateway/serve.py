"""`vivavoce serve`: the gateway on uvicorn."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import os
import signal
import socket
from types import FrameType
from typing import Any

import click
import uvicorn
from vivavoce import ConfigError, Voice, VoiceError
from vivavoce.redaction import redact

from vivavoce_gateway.app import Gateway, create_app
from vivavoce_gateway.config import GatewayConfig

__all__ = ["bind", "serve", "server_options"]

logger = logging.getLogger("vivavoce.gateway")

_TAKEN = (errno.EADDRINUSE, errno.EACCES)
_FIELDS = ("session", "call", "provider", "model", "end", "error", "code", "why")
_CALLS_S = 5.0


class _JsonFormatter(logging.Formatter):
    """One JSON object a line; never a payload, a transcript or a key."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {key: getattr(record, key) for key in _FIELDS if hasattr(record, key)}
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(json.dumps(line))


class _TextFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={getattr(record, key)}" for key in _FIELDS if hasattr(record, key))
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return redact(line + ("\n" + self.formatException(record.exc_info) if record.exc_info else ""))


class _Server(uvicorn.Server):
    """On the first SIGTERM or SIGINT it lets nobody in, and waits for the sessions; on the second it ends them."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, seconds: float) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._seconds = seconds
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._gateway.draining or not (self._gateway.sessions or len(self._gateway.calls)):
            self._gateway.drain()
            super().handle_exit(sig, frame)
            return
        self._gateway.drain()
        logger.info(
            "draining: open sessions %d, for at most %g s", len(self._gateway.sessions), self._seconds
        )
        self._draining = asyncio.get_running_loop().create_task(self._drain(sig, frame))

    async def _drain(self, sig: int, frame: FrameType | None) -> None:
        await self._gateway.drained(self._seconds)
        super().handle_exit(signal.Signals(sig), frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._gateway.calls.ended(_CALLS_S)  # those that a second signal left


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(host: str, config: GatewayConfig, insecure: bool) -> None:
    if not (_is_loopback(host) or config.keys or insecure):
        raise click.UsageError(
            f"--host {host} can be reached from elsewhere: give --api-key (or keys in --config), or --insecure if everybody may come in"
        )


def _check_providers(config: GatewayConfig) -> None:
    """See now, not at the first client, that every provider is there and takes its config. Opens nothing."""
    routes = {f"the provider of {name}": route for name, route in config.models.items()}
    for what, route in {"the default provider": config.default, **routes}.items():
        try:
            Voice(route.provider, **route.config)
        except VoiceError as wrong:
            raise click.ClickException(f"{what}: {wrong}") from wrong


def _configure_logs(style: str, level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
    for name in ("vivavoce", "uvicorn"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level.upper() if name == "vivavoce" else "WARNING")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `click.ClickException`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, so that asyncio takes it for TCP and sends each event at once: else one that follows another
    # waits for the client's acknowledgement, 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)  # from here on who connects is served, be it a moment later
    except (OSError, OverflowError) as bad:
        listening.close()
        hint = "; choose another --port" if isinstance(bad, OSError) and bad.errno in _TAKEN else ""
        why = getattr(bad, "strerror", None) or bad
        raise click.ClickException(f"cannot listen on {host}:{port}: {why}{hint}") from bad
    return listening


def server_options(config: GatewayConfig) -> dict[str, Any]:
    """How uvicorn serves the application."""
    return {
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "ws_max_size": config.limits.message_bytes,
        "ws_ping_interval": 20.0,  # as the service does
        "ws_ping_timeout": 60.0,  # a client that is read slowly, because it sends too much, answers late
        "ws_per_message_deflate": False,  # audio in base64 compresses badly and costs much
        "timeout_graceful_shutdown": 10,
        "server_header": False,
    }


@click.command()
@click.option("--provider", metavar="NAME", help="What answers where no model is routed (default: local).")
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False),
    help="A TOML file: which provider answers which model, keys, limits.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen at; one beyond this machine needs a key.",
)
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free one."
)
@click.option(
    "--api-key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="A key that clients must have; may be repeated. env:NAME reads it from the environment. Also VIVAVOCE_GATEWAY_KEY.",
)
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without any key.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one object a line.",
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
def serve(
    provider: str | None,
    config_file: str | None,
    host: str,
    port: int,
    keys: tuple[str, ...],
    insecure: bool,
    log_format: str,
    log_level: str,
) -> None:
    """Serve the OpenAI Realtime protocol: any client of it talks to any provider.

    It prints the address for clients and that of a page to talk from a browser. Ctrl-C ends it: at once when nobody is
    connected, else when the running sessions have ended, or at the second Ctrl-C.
    """
    if not keys and os.environ.get("VIVAVOCE_GATEWAY_KEY", "").strip():
        keys = ("env:VIVAVOCE_GATEWAY_KEY",)
    try:
        config = GatewayConfig.load(config_file or {}, provider=provider, keys=keys or None)
        _check_address(host, config, insecure)
        _check_providers(config)
        app = create_app(config)
    except ConfigError as wrong:
        raise click.ClickException(str(wrong)) from wrong
    _configure_logs(log_format, log_level)
    listening = bind(host, port)
    shown = f"[{host}]" if ":" in host else host
    port = listening.getsockname()[1]
    click.echo(
        f"Realtime: ws://{shown}:{port}/v1/realtime   page: http://{shown}:{port}/   provider: {config.default.name}"
    )
    settings = uvicorn.Config(app, **server_options(config))
    server = _Server(settings, app.state.gateway, config.limits.drain_seconds)
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
