#!/usr/bin/env bash
# The embedded model, trained on from the packaged weights on one GPU. Renders are drawn there too, by several processes,
# since half of a render's time is Python's; they stop after RENDERING seconds, while the U-Net is still compiled, so that
# the training then has the machine to itself.
# In LIMIT seconds; what comes out is written to $OUT in parts of 15 MB: `cat weights.tar.* | tar x`.
set -euo pipefail
OUT=${OUT:-build/gpu}
flags="--state ${STATE:-build/pretraining} --device ${DEVICE:-cuda}"
state=${STATE:-build/pretraining}
workers=${WORKERS:-10}
limit=${LIMIT:-560}
export OMP_NUM_THREADS=1
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
mkdir -p "$OUT" "$state"

count() { find "$state/$1" -name '*.safetensors' 2>/dev/null | wc -l; }

for part in $(seq 0 $((workers - 1))); do
    nice timeout "${RENDERING:-150}" python3 -W ignore -m pretraining.renders $flags --threads 1 --shards 5000 \
        --part "$part/$workers" >"$state/renders-$part.log" 2>&1 &
done
python3 -W ignore -m pretraining.unpack $flags
until [ "$(count renders)" -ge "$workers" ]; do sleep 1; done
python3 -W ignore -m pretraining.autoencoder $flags --steps 100000 --minutes "${AUTOENCODER_MINUTES:-0.8}" \
    --batch "${CROPS:-128}" --learning-rate 1e-3 --muon-rate 5e-3
for part in 0 1 2 3; do
    nice python3 -W ignore -m pretraining.examples $flags --threads 1 --minutes "${EXAMPLES:-2}" --part "$part/4" \
        >"$state/examples-$part.log" 2>&1 &
done
until [ "$(count examples)" -ge "$workers" ]; do sleep 1; done
left=$((limit - SECONDS - 40))  # 40 for start and packing; the last third of the rest decays the learning rates
python3 -W ignore -m pretraining.denoiser $flags --follow --samples 1000000000 --batch "${BATCH:-512}" \
    --minutes "$(python3 -c "print($left / 90)")" --cooldown-minutes "$(python3 -c "print($left / 180)")" \
    ${TRAINING:---bf16 --compile}
cooled=$(basename "$state"/denoiser-cooled-*.safetensors .safetensors)
python3 -W ignore -m pretraining.pack --state "$state" --device cpu --from "$cooled" --out "$OUT/weights"
tar c -C "$OUT" weights | split -b 15M - "$OUT/weights.tar."
rm -r "$OUT/weights"
cp "$state/log.txt" "$OUT"
