"""`fleetward maker`: who may release what. Keys, products, and what runs out when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.maker_options import AsJson, MakerOption, PassphraseFile, open_desk
from fleetward.cli.plain import PLAIN
from fleetward.keyholder.maker.ceremony import (
    PEOPLE,
    THRESHOLD,
    InitWish,
    begin_maker,
    continue_maker,
    replace_key,
)
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.folder import FACTS_FILE, find_maker
from fleetward.keyholder.maker.key_ring import FolderKeys, ask_once
from fleetward.keyholder.maker.people import read_person
from fleetward.keyholder.maker.person_keys import make_person_key, sign_file
from fleetward.keyholder.maker.products import (
    add_product,
    replace_product_key,
    set_support,
)
from fleetward.keyholder.maker.refreshing import refresh
from fleetward.keyholder.maker.root_draft import RootPerson
from fleetward.keyholder.maker.telling import (
    describe_product,
    list_product_rows,
    show_progress,
    show_status,
    tell_lives,
    tell_products,
    tell_progress,
    tell_signed,
    tell_status,
)
from fleetward.keyholder.speak import emit, refusals
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.releases.limits import MAX_ROOT_BYTES

maker_app = typer.Typer(
    help="Be a maker: keys, products, what runs out when.", no_args_is_help=True, **PLAIN
)
product_app = typer.Typer(help="Add and list products.", no_args_is_help=True, **PLAIN)
key_app = typer.Typer(help="Make, sign with and replace keys.", no_args_is_help=True, **PLAIN)
maker_app.add_typer(product_app, name="product")
maker_app.add_typer(key_app, name="key")

SupportEnds = Annotated[
    str, typer.Option("--support-ends", help="The last day on which you mend it: YYYY-MM-DD.")
]
Elsewhere = Annotated[
    str, typer.Option("--key", help="Where its key is: a sealed file, or pkcs11:…; else made here.")
]


@maker_app.command("init")
def init(
    name: Annotated[str, typer.Option("--name", help="Your name, as owners know it.")] = "",
    person: Annotated[str, typer.Option("--person", help="Who you are.")] = "",
    people: Annotated[int, typer.Option("--people", help="How many root keys there are.")] = PEOPLE,
    threshold: Annotated[
        int, typer.Option("--threshold", help="How many of them must sign.")
    ] = THRESHOLD,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="A root key of yours: a sealed file, or pkcs11:…"),
    ] = None,
    root_key: Annotated[
        list[Path] | None, typer.Option("--root-key", help="Public key file of another person.")
    ] = None,
    draft: Annotated[
        list[Path] | None, typer.Option("--draft", help="A draft that came back, signed.")
    ] = None,
    maker: MakerOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Become a maker; run it again to go on where it was.

    Alone, in one command:

    fleetward maker init --name "Acme"

    With others, whose public keys you have; then with the drafts that they signed:

    fleetward maker init --name "Acme" --person Anna --root-key bo.pub --root-key cy.pub

    fleetward maker init --draft 1.root.json
    """
    with refusals():
        path = find_maker(maker)
        is_new = not (path / FACTS_FILE).is_file()
        ask = ask_once(passphrase_file, new=is_new)
        if is_new:
            if not name:
                raise Malformed("Expected the maker's name: --name NAME.", reason="bad_name")
            keys, others = tuple(key or ()), tuple(root_key or ())
            wish = InitWish(name, person, people, threshold, keys, others)
            begin_maker(
                path,
                wish,
                lambda folder: FolderKeys(folder, ask, passphrase_file),
                SystemClock().wall_ms(),
            )
        elif name or key or root_key:
            raise Refused(
                f"Expected nothing at {path}; a maker is there already. Go on with it without "
                "--name and keys, or make another by --maker.",
                reason="folder_exists",
            )
        come = tuple(read_bounded(each, MAX_ROOT_BYTES) for each in draft or ())
        progress = continue_maker(open_desk(maker, passphrase_file, ask), come)
        emit(show_progress(path, progress), as_json, tell_progress(path, progress))


@maker_app.command("status")
def status(maker: MakerOption = None, as_json: AsJson = False) -> None:
    """Say what is in force, what runs out when, and what waits for signatures.

    fleetward maker status
    """
    with refusals():
        desk = open_desk(maker)
        emit(show_status(desk), as_json, tell_status(desk))


@maker_app.command("refresh")
def refresh_all(
    everything: Annotated[
        bool, typer.Option("--all", help="Sign targets and every product again, too.")
    ] = False,
    maker: MakerOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign snapshot and timestamp again, and products that run out soon. Publish it then.

    fleetward maker refresh
    """
    with refusals():
        lives = refresh(open_desk(maker, passphrase_file), everything=everything)
        emit({"lives": lives}, as_json, tell_lives(lives))


@product_app.command("add")
def add(
    product: Annotated[str, typer.Argument(help="a-z, 0-9 and hyphens.")],
    support_ends: SupportEnds,
    key: Elsewhere = "",
    maker: MakerOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Add a product, with a key of its own that releases this product alone.

    fleetward maker product add kiosk --support-ends 2031-12-31
    """
    with refusals():
        desk = open_desk(maker, passphrase_file)
        made = add_product(desk, product, support_ends, key)
        words = (
            f"{made.name} is a product of yours, mended until {made.support_ends}.\n"
            f"Build a release: fleetward release build {made.name} 1.0 --part app=FOLDER"
        )
        emit(describe_product(made, ()), as_json, words)


@product_app.command("set")
def change(
    product: Annotated[str, typer.Argument(help="A product of yours.")],
    support_ends: SupportEnds,
    maker: MakerOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Say another end of support. Releases that are built from now on say it too.

    fleetward maker product set kiosk --support-ends 2033-12-31
    """
    with refusals():
        made = set_support(open_desk(maker, passphrase_file), product, support_ends)
        emit(
            describe_product(made, ()), as_json, f"{made.name} is mended until {made.support_ends}."
        )


@product_app.command("list")
def show_products(maker: MakerOption = None, as_json: AsJson = False) -> None:
    """List products: models, newest release, end of support with its notice.

    fleetward maker product list
    """
    with refusals():
        rows = list_product_rows(open_desk(maker))
        emit({"products": rows}, as_json, tell_products(rows))


@key_app.command("make")
def make(
    person: Annotated[str, typer.Option("--person", help="Whose key it is.")],
    out: Annotated[
        Path, typer.Option("--out", help="The sealed key; FILE.pub is its public half.")
    ],
    token: Annotated[
        str, typer.Option("--token", help="pkcs11:… : make it on this token; FILE.pub is written.")
    ] = "",
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a root key of your own, on your own computer. Hand over FILE.pub and nothing else.

    fleetward maker key make --person Bo --out bo

    fleetward maker key make --person Bo --out bo --token "pkcs11:token=Bo;object=root?…"
    """
    with refusals():
        made = make_person_key(person, out, token, passphrase_file)
        words = (
            f"Hand {made['public']} to whoever runs `fleetward maker init`. Your key is "
            f"{made['key']}; it stays with you."
        )
        emit(made, as_json, words)


@key_app.command("sign")
def sign(
    draft: Annotated[Path, typer.Argument(help="A draft of a root: N.root.json.")],
    key: Annotated[str, typer.Option("--key", help="Your sealed key, or pkcs11:…")],
    previous: Annotated[
        Path | None,
        typer.Option("--previous", help="The root in force, if this one takes your key away."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a draft of a root, in its place. Compare the six words with the others before.

    fleetward maker key sign 1.root.json --key bo
    """
    with refusals():
        state = sign_file(draft, key, previous, passphrase_file)
        emit({"file": str(draft), "draft": state}, as_json, tell_signed(draft, state))


@key_app.command("replace")
def replace(
    old: Annotated[
        str, typer.Argument(help="A person's name, targets, snapshot, timestamp, or a product.")
    ],
    new: Annotated[
        str, typer.Argument(help="FILE.pub, a sealed file or pkcs11:…; else one is made here.")
    ] = "",
    maker: MakerOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key. A root's takes the people's signatures, a product's the key of targets.

    fleetward maker key replace "Bo" bo-new.pub

    fleetward maker key replace timestamp
    """
    with refusals():
        desk = open_desk(maker, passphrase_file)
        if old in desk.repository.verify().products:
            replace_product_key(desk, old, new)
            emit({"product": old}, as_json, f"{old} has a new key; the old one signs nothing.")
            return
        public = read_person(Path(new)) if new.endswith(".pub") else None
        _emit_replaced(desk, old, public, "" if public else new, as_json)


@key_app.command("renew")
def renew(
    maker: MakerOption = None, passphrase_file: PassphraseFile = None, as_json: AsJson = False
) -> None:
    """Draft a root with the same keys that lasts longer. The people sign it.

    fleetward maker key renew
    """
    with refusals():
        _emit_replaced(open_desk(maker, passphrase_file), "", None, "", as_json)


def _emit_replaced(
    desk: MakerDesk, old: str, public: RootPerson | None, named: str, as_json: bool
) -> None:
    progress = replace_key(desk, old, public, named)
    path = desk.folder.path
    emit(show_progress(path, progress), as_json, tell_progress(path, progress))
