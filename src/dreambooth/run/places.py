"""How a run writes down where things are on this machine: a run folder is shown to others, and a path says whose it is.

What is below the home folder is "~/photos/dog.jpg", anything else is seen from the run folder: "../../photos/dog.jpg",
behind links, so that it is the same whichever way one came to it.
"""

import os
from pathlib import Path


def written(place: Path, root: Path) -> Path:
    """`place` as a file of the run in `root` has it; as it is where there is no way from one to the other."""
    place = place.absolute()
    try:
        if place.is_relative_to(home := Path.home()) and home != Path(home.anchor):
            return Path("~", place.relative_to(home))
    except RuntimeError:  # a user without a home
        pass
    try:
        return Path(os.path.relpath(place.parent.resolve() / place.name, root.resolve()))
    except ValueError:  # another drive
        return place


def found(place: Path, root: Path) -> Path:
    """The absolute path of what `written` wrote, and of what older versions did, which looked at no links."""
    try:
        place = place.expanduser()
    except RuntimeError:  # written by somebody with a home
        return place
    now, older = (Path(os.path.normpath(base / place)) for base in (root.resolve(), root.absolute()))
    return older if os.path.exists(older) and not os.path.exists(now) else now  # which ask no rights
