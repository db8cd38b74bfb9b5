"""DreamBooth in five lines: the README's, run in a folder that holds the photos in `my-dog`."""

from dreambooth import Config, Subject, dreambooth, generate, photos_in

subject = Subject(photos=photos_in("my-dog"), class_noun="dog")
config = Config.build(model="stable-diffusion-v1-5/stable-diffusion-v1-5", memory="12")
run = dreambooth(subject, config, "runs/my-dog")
generate(run, ["a {} on the beach", "a {} wearing a red hat"])
print(run.report, run.model)
