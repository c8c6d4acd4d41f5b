"""Sends a notice through the apprise library. It is loaded with the first notice: it is large."""

from __future__ import annotations

from typing import Protocol

from fleetward.server.access.notice_plan import Recipient


class Sender(Protocol):
    """Sends one message to one recipient; returns whether it was taken."""

    def __call__(self, to: Recipient, title: str, body: str) -> bool: ...


def send_by_apprise(to: Recipient, title: str, body: str) -> bool:
    """Send plain text. Nothing of the text is read as markup, an attachment or an address.

    Does not raise for a recipient that cannot be reached: that is a try that failed. The library's
    own time-outs bound it (4 s to connect, 4 s to read; mail 15 s).
    """
    import apprise

    asset = apprise.AppriseAsset(secure_logging=True, plugin_paths=[], async_mode=False)
    one = apprise.Apprise(asset=asset)
    if not one.add(to.url):
        return False
    format_ = apprise.NotifyFormat.TEXT
    return bool(one.notify(body=body, title=title, body_format=format_, interpret_escapes=False))


def can_send(to: Recipient) -> bool:
    """Return whether the library knows this kind of address."""
    import apprise

    return bool(apprise.Apprise(asset=apprise.AppriseAsset(secure_logging=True)).add(to.url))
