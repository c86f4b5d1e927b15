#!/usr/bin/env bash
# What fastnst does on a GPU: on a bare machine that has torch, torchvision, Lightning, OpenCV and onnx, and no network.
#
#   benchmarks/gpu.sh pack FOLDER PHOTOS       before, with a network: what such a machine needs and cannot fetch, 50 MB
#   benchmarks/gpu.sh [run [OUT]]              tests marked gpu, speed of the nets, steps a second, into OUT (gpu-results)
#   benchmarks/gpu.sh train FOLDER [OUT [x=y]] trains the four styles, each from its net that ships, into OUT (gpu-nets)
#
# MINUTES is the budget: 20 of run, 40 of train. PACK=FOLDER tells run of a folder that was packed. PYTHON is python3.
# SIZES and FRAMES of the speed table, SETTINGS of the steps that are timed (trainer.image_size=64), and TRIAL, the steps
# that train times first, are for smaller machines. While it trains,
# OUT/STYLE/so_far.ckpt is the best net so far; a style that ends, or that time ends, leaves OUT/STYLE.ckpt.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3} begun=$SECONDS

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }

unpacked() { # puts the packages of the folder $1, if it has any, where Python finds them
  export PYTHONPATH=$root
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  if [ -f "${1:-}/site.tar.xz" ]; then
    "$python" -m tarfile -e "$1/site.tar.xz" "$site"
    PYTHONPATH=$root:$site
  fi
  if [ -f "${1:-}/vgg.safetensors" ]; then vgg=$(cd "$1" && pwd)/vgg.safetensors; else vgg=auto; fi
  trainer=$("$python" -c 'import torch; print("gpu" if torch.cuda.is_available() else "cpu")')
}

seconds_left() { echo $((60 * ${MINUTES:-$1} - SECONDS + begun)); }

pack() { # FOLDER PHOTOS
  [ -d "$2" ] || { echo "error: '$2' is no folder of photos" >&2; exit 2; }
  if [ -e "$1" ]; then echo "error: '$1' exists; give a new folder" >&2; exit 2; fi
  part=$(mktemp -d)
  trap 'rm -rf "$part"' EXIT
  mkdir "$part/site" "$part/pack"
  "$python" -m pip install -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --target "$part/site" "av>=18,<20" "hydra-core>=1.3.8,<1.4" "omegaconf>=2.3,<2.4" "beartype>=0.20" \
    "jaxtyping>=0.2.30" wadler-lindig safetensors tqdm
  "$python" -m pip install -q --no-deps --target "$part/site" "antlr4-python3-runtime==4.9.*" # it has no wheel
  (cd "$part/site" && find . -name __pycache__ -prune -exec rm -rf {} + && tar -c ./* | xz -6 > "$part/pack/site.tar.xz")
  PYTHONPATH=$root "$python" "$root/benchmarks/gpu.py" pack "$part/pack" "$2" 49
  mkdir -p "$(dirname "$1")"
  chmod -R a+rX "$part/pack"
  mv "$part/pack" "$1"
  du -sm --apparent-size "$1"
}

run() { # OUT
  mkdir -p "$1"
  out=$(cd "$1" && pwd)
  unpacked "${PACK:-$root/pack}"
  export RESULTS=$out/RESULTS.md
  cd "$root"
  { nvidia-smi || true; "$python" -c 'import torch; print(torch.__version__, torch.cuda.is_available())'; } \
    > "$out/machine.txt" 2>&1
  mapfile -t files < <(grep -rl --include='*.py' 'mark\.gpu' tests)
  step "$out/tests.txt" 300 "$python" -m pytest -p no:cacheprovider -m gpu "${files[@]}"
  # shellcheck disable=SC2086 # several words each: SETTINGS of a training, SIZES
  step "$out/training.txt" 240 "$python" benchmarks/training.py trainer="$trainer" trainer.batch_size=16 vgg="$vgg" \
    ${SETTINGS:-}
  # shellcheck disable=SC2086
  step "$out/speed.txt" 3600 "$python" benchmarks/gpu.py speed "${FRAMES:-48}" \
    ${SIZES:-256x256 640x360 1280x720 1920x1080 3840x2160}
  echo "results: $out"
}

step() { # FILE SECONDS COMMAND...: runs the command for that long, or as long as is left, whatever becomes of it
  local file=$1 limit=$2 left
  shift 2
  left=$(seconds_left 20)
  if [ "$left" -le 0 ]; then echo "no time left for: $*" | tee "$file"; return; fi
  timeout -k 10 $((left < limit ? left : limit)) "$@" > "$file" 2>&1 && echo "done: $*" || echo "status $?: $*, see $file"
}

train() { # FOLDER OUT SETTING...
  [ -d "$1/photos" ] || { echo "error: '$1' has no photos; benchmarks/gpu.sh pack makes such a folder" >&2; exit 2; }
  unpacked "$1"
  mkdir -p "$2"
  photos=$(cd "$1" && pwd)/photos out=$(cd "$2" && pwd)
  shift 2
  cd "$root"
  base=("$python" train.py trainer="$trainer" trainer.batch_size=16 data.root="$photos" vgg="$vgg" wandb=false
    trainer.image_size=256 trainer.precision=bf16-mixed overwrite=true)
  local few=5 many=$((5 + ${TRIAL:-100})) styles=(clouds liechtenstein picasso wave) weights=("550 9" "500 16" "800 14" "800 18")
  short=$(timed "$few" "$@") long=$(timed "$many" "$@")
  echo "$few steps: $short ms, $many steps: $long ms"
  for number in "${!styles[@]}"; do
    local style=${styles[number]} share=$(($(seconds_left 40) / (4 - number)))
    read -r temporal strength <<< "${weights[number]}"
    local steps=$(((900 * share - short) * (many - few) / (long > short ? long - short : 1)))
    [ "$steps" -ge 10 ] || { echo "no time left for $style"; continue; }
    echo "$style: $steps steps in $share s"
    timeout -s TERM -k 60 "$share" "${base[@]}" style="$style" net.init="$style" run="$out/$style" temporal.weight="$temporal" \
      loss.style_weight="$strength" trainer.max_steps="$steps" trainer.validate_every=$((steps / 10)) "$@" || true
    for net in "$out/$style/$style.ckpt" "$out/$style/so_far.ckpt"; do
      if [ -f "$net" ]; then cp "$net" "$out/$style.ckpt"; break; fi
    done
  done
  ls -l "$out"/*.ckpt
}

timed() { # STEPS SETTING...: prints the milliseconds that a run of so many steps takes
  local steps=$1 start
  shift
  start=$(date +%s%3N)
  "${base[@]}" style=picasso run="$site/trial" trainer.max_steps="$steps" trainer.validate_every=100000 "$@" > "$site/log" 2>&1 \
    || { cat "$site/log" >&2; exit 1; }
  echo $(($(date +%s%3N) - start))
}

case ${1:-run} in
  pack) [ $# -eq 3 ] || usage; pack "$2" "$3" ;;
  run) [ $# -le 2 ] || usage; run "${2:-gpu-results}" ;;
  train) [ $# -ge 2 ] || usage; train "$2" "${3:-gpu-nets}" "${@:4}" ;;
  *) usage ;;
esac
