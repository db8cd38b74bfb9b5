"""Too little memory, said to who can mend it: which settings of this run would need less."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dreambooth.config.savings import of_memory
from dreambooth.config.settings import Config
from dreambooth.errors import DeviceMemoryError, is_out_of_memory
from dreambooth.support.device import device

TOLD = 3


@contextmanager
def memory_in_words(config: Callable[[], Config], doing: str, drawing: bool) -> Iterator[None]:
    """Raise DeviceMemoryError with three settings that help where memory is refused inside.

    config: gives the run's settings.  doing: what the run does inside.  drawing: whether it draws, else it trains.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        gpu = type(error).__name__ == "OutOfMemoryError" or device().type != "cpu"
        helpful = [
            f"{saving.flag} ({saving.price})" if saving.price else saving.flag
            for saving in of_memory(config(), gpu, drawing)[:TOLD]
        ]
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DeviceMemoryError(
            f"the memory of this {'GPU' if gpu else 'machine'} is too small for {doing}. {_advice(helpful)} ({said})"
        ) from error


def _advice(helpful: list[str]) -> str:
    if not helpful:
        return "No setting of this run that could still be changed needs less: take another device, or a smaller model."
    return (
        f"What helps, the most helpful first: {', '.join(helpful)}. Give it with another --output-dir, as a run keeps "
        "the settings that it began with; class images that are there are used again."
    )
