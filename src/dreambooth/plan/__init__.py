"""Before the work: how long it will take here, in how much memory and room, and what would need less."""

from dreambooth.plan.plan import Plan as Plan
from dreambooth.plan.plan import compared as compared
from dreambooth.plan.planner import Planner as Planner
from dreambooth.plan.work import Work as Work
