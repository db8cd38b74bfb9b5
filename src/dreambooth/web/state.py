"""What every route of the studio works with."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from dreambooth.web.drafts import Drafts
from dreambooth.web.events import Watches
from dreambooth.web.plan import Plans
from dreambooth.web.queue import Queue
from dreambooth.web.studio import Studio
from dreambooth.web.views import Views


@dataclass(frozen=True, kw_only=True)
class State:
    """One studio. command: how its jobs are started."""

    studio: Studio
    queue: Queue
    drafts: Drafts
    views: Views
    watches: Watches
    plans: Plans
    command: tuple[str, ...]


def _state(request: Request) -> State:
    state: State = request.app.state.studio
    return state


Its = Annotated[State, Depends(_state)]
"""The studio of a request."""
