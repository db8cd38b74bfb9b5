"""How the embedded weights were made, from nothing: run the modules in this order, each resumable, on a CPU or one GPU.

    python -m pretraining.renders       pictures of the toybox world, with what is true of each
    python -m pretraining.autoencoder   pixels <-> latents
    python -m pretraining.text_encoder  tokenizer, and a text encoder that knows what a caption says
    python -m pretraining.examples      latents and worded captions of the renders; the denoiser makes what is missing
    python -m pretraining.denoiser      the U-Net, with the text encoder, on these
    python -m pretraining.classifier    reads class, colour and scene off a picture; trained on renders only
    python -m pretraining.identifiers   rare tokens of a packed model made names, as packing does it
    python -m pretraining.heard         how much a rare token changes a prediction, beside a famous name
    python -m pretraining.pack          the Stable-Diffusion-format folder that the package ships
    python -m pretraining.unpack        the way back: states from a packaged model, to go on training it
    python -m pretraining.frechet       how far the model's pictures are from renders
    python -m pretraining.evaluate      does "a red car in the snow" show a car, red, snow
    python -m pretraining.judge_renders several shots of each of many toys
    python -m pretraining.judge_dino    the embedded DINO: is it the same toy
    python -m pretraining.patterned     more pictures, most of them of striped and spotted toys, and where that shows
    python -m pretraining.judge_patterns  --learner teacher, then without: a vision tower that sees stripes and spots
    python -m pretraining.judge_clip    the embedded CLIP, from the packaged one: is it what the caption says

A pixel cascade in DeepFloyd IF's form, 16 to 64 px, from the same renders; `--model toybox-cascade` opens it:

    python -m pretraining.cascade_text      a Unigram tokenizer, and a T5 encoder that knows what a caption says
    python -m pretraining.cascade_examples  pixels and captions of the renders, for stages that train with --follow
    python -m pretraining.cascade_stages    --stage base, then --stage super_resolution; --cooldown-minutes ends each
    python -m pretraining.cascade_pack      the folder that `dreambooth run PHOTOS --model FOLDER` tunes
    python -m pretraining.cascade_unpack    the way back: states from a packaged cascade, to go on training it

`bash pretraining/on_a_gpu.sh` trains the packaged weights further on one GPU in nine minutes, and the cascade beside
them where CASCADE names one. State is kept in one folder (--state); `log.txt` in it tells what was run.
"""
