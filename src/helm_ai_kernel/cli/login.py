"""`mcp login`, `mcp logout`: a person's leave for the kernel to act at a server that wants a token."""

import argparse
import asyncio
import webbrowser
from datetime import UTC, datetime

from helm_ai_kernel.app.config import Config
from helm_ai_kernel.app.identities import identity
from helm_ai_kernel.app.oauth_issuers import fetcher
from helm_ai_kernel.app.oauth_place import Visit, by_following
from helm_ai_kernel.credentials.tokens import TokenFile
from helm_ai_kernel.tcb.findings import visible

from .output import PROGRAM, Commands, Declined, command, config, emit, tell


def add(mcp: Commands) -> None:
    new = command(mcp, "login", "log the kernel in at a server that wants a token", f"{PROGRAM} mcp login shop")
    new.add_argument("server", metavar="SERVER", help="a name under [upstream.NAME] in helm.toml, with `mcp = URL`")
    how = new.add_mutually_exclusive_group()
    how.add_argument("--open", action="store_true", help="open the page in a browser, too")
    how.add_argument("--follow", action="store_true", help="ask nobody: fetch the page and take its redirect for the answer")
    new.set_defaults(run=run_login)
    end = command(mcp, "logout", "forget what a server's issuer gave", f"{PROGRAM} mcp logout shop")
    end.add_argument("server", metavar="SERVER")
    end.set_defaults(run=run_logout)


def run_login(args: argparse.Namespace) -> int:
    settings = config(args)
    _check(settings, args.server)
    visit = by_following(fetcher(settings.oauth[args.server])) if args.follow else _shown(args)
    grant = asyncio.run(identity(settings, args.server, settings.oauth[args.server], visit=visit).login())
    expires = None if grant.expires is None else datetime.fromtimestamp(grant.expires, UTC).isoformat().replace("+00:00", "Z")
    data = {"server": args.server, "issuer": grant.issuer, "scopes": list(grant.scopes), "expires": expires}
    scopes = visible(" ".join(grant.scopes)) or "as the server decides"
    lines = [f"{args.server}: logged in at {visible(grant.issuer)}", f"scopes   {scopes}"]
    emit(args, data, lines + ([f"expires  {expires}"] if expires and not grant.refresh else []))
    return 0


def run_logout(args: argparse.Namespace) -> int:
    settings = config(args)
    _check(settings, args.server)
    had = TokenFile(settings.paths.oauth(args.server), settings.oauth[args.server].url).forget()
    done = "what its issuer gave is gone; it may still count there" if had else "there was nothing to forget"
    emit(args, {"server": args.server, "forgotten": had}, [f"{args.server}: {done}"])
    return 0


def _shown(args: argparse.Namespace) -> Visit:
    async def visit(url: str) -> None:
        tell(args, ["open this page, log in and agree; the answer comes back here:", visible(url, len(url))])
        if args.open:
            await asyncio.to_thread(webbrowser.open, url)

    return visit


def _check(settings: Config, server: str) -> None:
    if server not in settings.oauth:
        raise Declined(f"helm.toml has no [upstream.{server}] with `mcp = URL`", settings.paths.typed("tools list"))
