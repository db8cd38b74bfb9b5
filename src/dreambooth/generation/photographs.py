"""The world of photographs, which every published base model has seen: the paper's prompts, judges and classes."""

from dreambooth.config.worlds import World
from dreambooth.generation.prompts import LIVE, OBJECT, PAPER_LIVE, PAPER_OBJECT, PROBE, is_live
from dreambooth.subject import Prompt

PAPER_CLASSES = (
    *("backpack", "stuffed animal", "bowl", "can", "candle", "cat", "clock", "sneaker"),
    *("dog", "toy", "boot", "glasses", "cartoon", "teapot", "vase"),
)
"""The 15 classes of the paper's 30 subjects (https://github.com/google/dreambooth)."""

_NOUNS = """
    dog, puppy, cat, kitten, rabbit, hamster, horse, pony, cow, sheep, pig, goat, fox, wolf, bear, lion, tiger,
    elephant, monkey, squirrel, hedgehog, bird, parrot, owl, duck, chicken, fish, turtle, lizard, snake, frog,
    butterfly, man, woman, boy, girl, baby, person, stuffed animal, teddy bear, doll, action figure, toy, toy
    car, toy robot, figurine, puppet, backpack, handbag, purse, suitcase, wallet, umbrella, hat, cap, scarf,
    glove, sneaker, boot, sandal, shoe, dress, shirt, jacket, coat, sweater, glasses, sunglasses, watch, ring,
    necklace, bowl, can, cup, mug, glass, bottle, plate, teapot, kettle, vase, pot, pan, jar, candle, clock,
    alarm clock, lamp, chair, sofa, table, bed, bookshelf, mirror, pillow, blanket, rug, car, truck, van, bus,
    motorcycle, bicycle, scooter, train, boat, airplane, helicopter, tractor, guitar, piano, violin, drum,
    trumpet, camera, phone, laptop, keyboard, headphones, radio, television, book, pen, box, basket, ball,
    skateboard, surfboard, tent, knife, hammer, key, house, building, tower, bridge, statue, fountain, tree,
    flower, plant, cactus, mushroom, apple, banana, orange, cake, pizza, burger, sandwich, bread, ice cream,
    coin, flag, painting, cartoon, logo, robot, sculpture, helmet, mask, crown, sword, telescope, globe, toaster
"""
NOUNS = tuple(" ".join(noun.split()) for noun in _NOUNS.split(","))
"""Kinds of things that people photograph, to tell their photos apart by."""


def prompts(class_noun: str) -> tuple[Prompt, ...]:
    """About ten prompts of every application of section 4.3 that fits the class."""
    return LIVE if is_live(class_noun) else OBJECT


def scored_prompts(class_noun: str, whole: bool) -> tuple[Prompt, ...]:
    """The paper's 25 prompts for things or live subjects, or every third of them."""
    listed = PAPER_LIVE if is_live(class_noun) else PAPER_OBJECT
    return listed if whole else listed[::3]


PHOTOGRAPHS = World(
    name="photographs",
    prompts=prompts,
    probe_prompts=PROBE,
    scored_prompts=scored_prompts,
    classes=PAPER_CLASSES,
    nouns=NOUNS,
    # DINO ViT-S/16 is the paper's; it names no CLIP (see metrics.CHOICES)
    judges={"dino": "facebook/dino-vits16", "clip": "openai/clip-vit-base-patch32"},
)
"""Its models' settings are the paper's own."""
