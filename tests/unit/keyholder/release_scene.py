"""An owner, two makers' releases and a small server between them that can be told to lie.

The repository signs as a maker does; the server hands its files out and keeps what is approved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.adversary.release_repository import NOW, Repository
from tests.release_manifests import manifest_bytes
from tests.trust_world import Machine
from tests.unit.keyholder.access_scene import lend_keys, now_ms
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.small_server import TOKEN, SmallServer
from typer.testing import CliRunner, Result

from fleetward.cli.owner import owner_app
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.policy_changes import change_policy
from fleetward.keyholder.updates.finding import Found, find_release
from fleetward.keyholder.updates.kept import KeptFolder
from fleetward.keyholder.updates.roots import set_maker
from fleetward.keyholder.updates.source import ServerSource
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import FleetwardError
from fleetward.trust.keys import ES256
from fleetward.trust.release_manifest import make_path
from fleetward.trust.releases.names import name_file

Reply = tuple[int, Any, dict[str, str]]
WARD = ("ward-3",)


@dataclass
class OtherRepository(Repository):
    """A repository whose keys are none of the usual one's."""

    _next_signer: int = 1000


def make_repository(*products: str, kind: type[Repository] = Repository) -> Repository:
    """Return a repository whose metadata lasts for years, with a role for each product."""
    repository = kind.make()
    for role in repository.roles.values():
        role.signed.expires = NOW + timedelta(days=3650)
    for product in products:
        repository.delegate("targets", product, f"{product}/*/release.json")
        repository.roles[product].signed.expires = NOW + timedelta(days=3650)
    repository.publish("root")
    repository.publish_all(*products, "targets")
    return repository


@dataclass
class ReleaseScene:
    """Everybody, and the server's memory. `lie` changes what the server answers to a path."""

    desk: Desk
    server: SmallServer
    repository: Repository
    machines: dict[str, Machine]
    manifests: dict[tuple[str, str], bytes] = field(default_factory=dict)
    taken: list[bytes] = field(default_factory=list)
    lie: Callable[[str, Any], Any] = lambda path, answer: answer
    director: dict[str, str] | None = None

    @property
    def anchor(self) -> str:
        """The SHA-256 of the maker's first root."""
        return sha256(self.repository.files["1.root.json"]).hexdigest()

    @property
    def client(self) -> ApiClient:
        return ApiClient(self.server.api, TOKEN)

    def release(self, product: str, version: str, counter: int, **changes: Any) -> bytes:
        """Let the maker release something, and the server have it."""
        data = manifest_bytes(product, version, counter, **changes)
        self.repository.add_target(product, make_path(product, version), data)
        self.repository.publish_all(product)
        self.manifests[product, version] = data
        return data

    def look(self, product: str = "kiosk", version: str = "1.1") -> Found:
        """Look at a release by the server, as the owner's tool does."""
        kept = KeptFolder(self.desk.folder, product, self.anchor)
        source = ServerSource(self.client)
        return find_release(source, kept, self.anchor, (product, version), now_ms())

    def look_error(self, product: str = "kiosk", version: str = "1.1") -> str:
        """Return why a look ended without a release; nothing when it did not."""
        try:
            self.look(product, version)
        except FleetwardError as e:
            return e.reason
        return ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Reply | None:
        """Be the server's half of updates."""
        steps = [unquote(step) for step in urlsplit(path).path.split("/")[1:]]
        if steps[0] == "events":  # what machines signed of policies: nothing yet
            return 200, {"items": [], "total": 0}, {}
        if steps[0] != "updates":
            return None
        found = self.lie(path, self._find(method, steps[1:], body))
        return (404, "not_found", {}) if found is None else (200, found, {})

    def _find(self, method: str, steps: list[str], body: dict[str, Any]) -> Any:
        if steps[0] == "approvals":
            if method == "POST":
                self.taken.append(from_base64url(body["envelope"]))
                return {}
            rows = [{"envelope": to_base64url(each)} for each in self.taken]
            return {"items": rows, "total": len(rows)}
        if steps[0] == "director":
            return self.director
        if steps[0] == "roots":
            roots = [d for n, d in self.repository.files.items() if n.endswith(".root.json")]
            return next((d for d in roots if sha256(d).hexdigest() == steps[1]), None)
        if steps[0] == "metadata":
            return self.repository.files.get(steps[2])
        manifest = self.manifests.get((steps[1], steps[2]))
        return None if manifest is None else {"manifest": to_base64url(manifest)}

    def says(self, passphrase_file: Path | None, *words: object, near: bool = True) -> Result:
        """Run `fleetward owner …`, near the scene's server unless told otherwise."""
        token = self.desk.folder.path.parent / "token-of-a-test"
        token.write_text(TOKEN)
        token.chmod(0o600)
        said = [*map(str, words), "--owner", str(self.desk.folder.path)]
        if near:
            url = self.server.api.removesuffix("/api/v1")
            said += ["--server", url, "--token-file", str(token)]
        if passphrase_file is not None:
            said += ["--passphrase-file", str(passphrase_file)]
        return CliRunner().invoke(owner_app, said)

    def write_repository(self, path: Path) -> Path:
        """Write the maker's repository as plain files."""
        (path / "metadata").mkdir(parents=True)
        for name, data in self.repository.files.items():
            (path / "metadata" / name).write_bytes(data)
        for (product, version), data in self.manifests.items():
            place = path / "targets" / product / version
            place.mkdir(parents=True)
            digest = self._target_digest(product, version)
            (place / f"{digest}.release.json").write_bytes(data)
        return path

    def _target_digest(self, product: str, version: str) -> str:
        file = self.repository.targets(product).targets[make_path(product, version)]
        return file.hashes["sha256"]

    def bundle_files(self, product: str = "kiosk") -> list[tuple[str, bytes]]:
        """Return the files of a bundle with all that the maker published of a product."""
        files = [(f"root/{self.anchor}", self.repository.files["1.root.json"])]
        names = [f"{n}.root.json" for n in range(2, self.repository.root.version + 1)]
        for role in ("timestamp", "snapshot", "targets", product):
            version = self.repository.roles[role].signed.version
            names.append(name_file(role, None if role == "timestamp" else version))
        files += [(f"image/{product}/{name}", self.repository.files[name]) for name in names]
        files += [
            (f"manifest/{sha256(data).hexdigest()}", data)
            for (named, _), data in self.manifests.items()
            if named == product
        ]
        return files


def make_release_scene(folder: OwnerFolder, server: SmallServer) -> ReleaseScene:
    """Return a scene with three machines on the roster and kiosk 1.1 released."""
    desk = Desk(folder, PASSPHRASE, SystemClock())
    lend_keys(desk)
    owner = desk.documents().owner
    machines = [Machine(name, owner, make_key(ES256)) for name in ("kiosk-1", "kiosk-2", "pump-7")]
    for machine in machines:
        entry = machine.entry(site="Hall", groups=WARD if machine.name != "pump-7" else ())
        model = "Kiosk 12" if machine.name != "pump-7" else "Pump P7"
        desk.put_on_roster(replace(entry, name=machine.name, model=model))
    repository = make_repository("kiosk", "pump")
    scene = ReleaseScene(desk, server, repository, {m.name: m for m in machines})
    change_policy(desk, set_maker("kiosk", scene.anchor), now_ms())
    scene.release("kiosk", "1.1", 11)
    server.hook = scene.answer
    return scene
