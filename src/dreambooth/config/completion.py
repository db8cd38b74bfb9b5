"""Scripts that have a shell complete the command line; made from the parser, so that they never lag behind it."""

import argparse
from collections.abc import Iterator, Sequence

from dreambooth.config.parser import Parser, path
from dreambooth.config.peers import SAME
from dreambooth.config.settings import PLACES

SHELLS = ("bash", "zsh", "fish")

_ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"
"""After this zsh understands what is written for bash."""

_BASH = """\
_{prog}() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" place="" words="" at
    if [[ "$word" == "=" ]]; then word=""
    elif [[ "$before" == "=" ]]; then before="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
    for ((at = 1; at < COMP_CWORD; at++)); do
        case "$place ${{COMP_WORDS[at]}}" in {places}) place="$place ${{COMP_WORDS[at]}}" ;; esac
    done
    COMPREPLY=()
    case "$before" in
{values}
    esac
    case "$place" in
{words}
    esac
    if [[ "$word" == -* || "$words" != -* ]]; then COMPREPLY=($(compgen -W "$words" -- "$word"))
    else local IFS=$'\\n'; COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _{prog} {prog}
"""
"""A command's words begin with a dash unless commands stand below it; other words of it are files."""


def script(shell: str, parser: Parser) -> str:
    """What `shell` reads at its start to complete the commands of `parser`, their flags and the flags' values."""
    return {"bash": _bash, "zsh": lambda its: _ZSH + _bash(its), "fish": _fish}[shell](parser)


def _bash(parser: Parser) -> str:
    replies: dict[str, list[str]] = {}
    places, words = [], []
    for place, command in _walk(parser):
        flags = _flags(command)
        for flag, action in flags.items():
            if action.nargs != 0 and flag not in replies.setdefault(_reply(action), []):
                replies[_reply(action)].append(flag)
        places.append(f'" {" ".join(place)}"')
        inner = " ".join([*_inner(command), *flags])
        words.append(f'        "{"".join(f" {word}" for word in place)}") words="{inner}" ;;')
    return _BASH.format(
        prog=parser.prog,
        places="|".join(places[1:]),
        values="\n".join(f"        {'|'.join(flags)}) {reply}return ;;" for reply, flags in replies.items()),
        words="\n".join(words),
    )


def _reply(action: argparse.Action) -> str:
    """What bash does for a flag's value: offer the choices or the files, or nothing."""
    if choices := _choices(action):
        return f'COMPREPLY=($(compgen -W "{" ".join(choices)}" -- "$word")); '
    return "local IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$word\")); " if _is_path(action) else ""


def _fish(parser: Parser) -> str:
    lines = []
    for place, command in _walk(parser):
        inner = " ".join(command.commands())
        tests = [f"__fish_seen_subcommand_from {word}" for word in place]
        tests += [f"not __fish_seen_subcommand_from {inner}"] if inner else []
        start = f"complete -c {parser.prog} -n '{'; and '.join(tests)}'"
        lines += [f"{start} -f -a {name} -d {_quoted(summary)}" for name, summary in _inner(command).items()]
        for flag, action in _flags(command).items():
            takes = f" -x -a '{' '.join(choices)}'" if (choices := _choices(action)) else " -x"
            takes = "" if action.nargs == 0 else " -r -F" if _is_path(action) else takes
            lines.append(f"{start} -l {flag[2:]}{takes} -d {_quoted(action.help)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str | None) -> str:
    """The first clause of a help text, as a word of fish."""
    clause = (text or "").partition(";")[0].partition(" [default")[0].replace("%%", "%")
    return "'" + clause.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _walk(parser: Parser, place: Sequence[str] = ()) -> Iterator[tuple[Sequence[str], Parser]]:
    """Every command, with the words that lead to it; the first is the whole."""
    yield place, parser
    for name, inner in parser.commands().items():
        yield from _walk(inner, [*place, name])


def _inner(command: Parser) -> dict[str, str]:
    """The words that may stand where no flag does, each with what it means: commands, or an argument's choices."""
    commands = {name: its.description or "" for name, its in command.commands().items()}
    arguments = [action for action in command._actions if not action.option_strings and not commands]
    return commands | {str(choice): "" for action in arguments for choice in action.choices or ()}


def _flags(command: Parser) -> dict[str, argparse.Action]:
    """A command's own flags, without other tools' names for them."""
    others = {alias for aliases in SAME.values() for alias in aliases}
    every = {flag: action for action in command._actions for flag in action.option_strings if flag.startswith("--")}
    return {flag: its for flag, its in every.items() if flag == its.option_strings[0] or flag not in others}


def _is_path(action: argparse.Action) -> bool:
    return action.type is path or action.dest in PLACES


def _choices(action: argparse.Action) -> list[str]:
    """The words that a flag takes, where these are few: settings have them as "a|b|c"."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return list(action.choices or (metavar.split("|") if "|" in metavar else ()))
