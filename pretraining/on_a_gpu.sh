#!/usr/bin/env bash
# The embedded models on one GPU, at the same time: the Stable Diffusion trained on from what is packaged, and, where
# CASCADE names a folder with what `pretraining.cascade_text` left, the two stages of the cascade.
#
# Renders are drawn on the GPU by several processes, since half of a render's time is Python's, and on the CPU where that
# fails; they stop after RENDERING seconds, those of CPU_RENDERERS further processes after CPU_RENDERING. All of it ends
# within LIMIT seconds, and what comes out is written to $OUT in parts of 15 MB: `cat weights.tar.* | tar x`.
set -euo pipefail
OUT=${OUT:-build/gpu}
state=${STATE:-build/pretraining}
device=${DEVICE:-cuda}
limit=${LIMIT:-560}
renderers=${RENDERERS:-7}
cpu_renderers=${CPU_RENDERERS:-0}
rendering=${RENDERING:-110}
cpu_rendering=${CPU_RENDERING:-300}
longest=$((cpu_renderers > 0 && cpu_rendering > rendering ? cpu_rendering : rendering))
waiting=$((longest / 60 + 1)) # minutes, for the last renders
case $device in cuda*) graph=--graph ;; *) graph= ;; esac
training=${TRAINING---bf16 $graph}
flags="--state $state --device $device"
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
export OMP_NUM_THREADS=1
mkdir -p "$OUT/weights" "$state"

count() { find "$1" -name '*.safetensors' 2>/dev/null | wc -l; }
run() { python3 -W ignore -m "pretraining.$1" "${@:2}"; }
minutes() { python3 -c "print(max(0.1, ($limit - $SECONDS - 45) / 60 * $1))"; } # 45 seconds for starting and packing
render() { # the part, the device, the seconds
    nice timeout "$3" python3 -W ignore -m pretraining.renders --state "$state" --device "$2" --threads 1 \
        --first "${FIRST:-200}" --shards 5000 --part "$1/$((renderers + cpu_renderers))" >>"$state/renders-$1.log" 2>&1
}

for part in $(seq 0 $((renderers - 1))); do
    { render "$part" "$device" "$rendering" || [ $? = 124 ] || render "$part" cpu "$rendering" || true; } &
done
for part in $(seq "$renderers" $((renderers + cpu_renderers - 1))); do
    render "$part" cpu "$cpu_rendering" &
done
run unpack $flags
until [ "$(count "$state/renders")" -ge "$renderers" ]; do sleep 1; done

for part in 0 1 2 3; do
    nice python3 -W ignore -m pretraining.examples $flags --threads 1 --minutes "$waiting" --part "$part/4" \
        >"$state/examples-$part.log" 2>&1 &
done
until [ "$(count "$state/examples")" -ge "$renderers" ]; do sleep 1; done
run denoiser $flags --follow --samples 1000000000 --batch "${BATCH:-512}" $training \
    --minutes "$(minutes 0.66)" --cooldown-minutes "$(minutes 0.34)" >"$OUT/denoiser.log" 2>&1 &
denoiser=$!

others=()
if [ -n "${CASCADE:-}" ]; then
    ln -sfn "$(realpath "$state/renders")" "$CASCADE/renders"
    for part in 0 1 2; do
        nice python3 -W ignore -m pretraining.cascade_examples --state "$CASCADE" --threads 1 \
            --minutes "$waiting" --part "$part/3" >"$CASCADE/examples-$part.log" 2>&1 &
    done
    until [ "$(count "$CASCADE/examples/")" -ge "$renderers" ]; do sleep 1; done
    for stage in base super_resolution; do
        share=$([ $stage = base ] && echo 0.55 || echo 0.75)
        nice -n 5 python3 -W ignore -m pretraining.cascade_stages --state "$CASCADE" --device "$device" --stage $stage \
            --follow --samples 1000000000 --batch "${CASCADE_BATCH:-256}" --crop 64 ${CASCADE_TRAINING---bf16} \
            --minutes "$(minutes "$share*0.66")" --cooldown-minutes "$(minutes "$share*0.34")" >"$OUT/$stage.log" 2>&1 &
        others+=($!)
    done
fi

for job in "$denoiser" "${others[@]}"; do
    wait "$job" || echo "a training failed: see the logs in $OUT"
done
named() { basename "$(ls "$1/$2"-cooled-*.safetensors)" .safetensors; }
run pack --state "$state" --device cpu --from "$(named "$state" denoiser)" --out "$OUT/weights/toybox"
if [ -n "${CASCADE:-}" ]; then
    run cascade_pack --state "$CASCADE" --device cpu --base "$(named "$CASCADE" base)" \
        --super-resolution "$(named "$CASCADE" super_resolution)" --out "$OUT/weights/cascade" || true
fi
tar c -C "$OUT" weights | split -b 15M - "$OUT/weights.tar."
rm -r "$OUT/weights"
count "$state/renders"
