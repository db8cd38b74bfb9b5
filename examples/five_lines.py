"""DreamBooth in five lines: the README's, run in a folder that holds a folder `photos`."""

from dreambooth import Config, Subject, dreambooth, generate, photos_in

subject = Subject(photos=photos_in("photos"), class_noun="dog")
run = dreambooth(subject, Config.build(max_train_steps=400), "runs/dog")
generate(run, ["a {} on the beach", "a {} wearing a red hat"])
print(run.report, run.model)
