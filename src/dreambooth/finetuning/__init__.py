"""Section 3: fine-tuning on the subject's photos with the class prior, from the step to the stop button.

`training_step` is the method (step.py); loop.py accumulates, clips, averages and stops around it, state.py saves and
resumes. Everything random is a function of (seed, batch number, row): a resumed run equals an uninterrupted one, bit
for bit.
"""

from dreambooth.finetuning.loop import UNREAD, Observer, finetune
from dreambooth.finetuning.step import training_step

__all__ = ["UNREAD", "Observer", "finetune", "training_step"]
