# The recipes, each fact once. Published: GAN Compression's fast and full pipelines, and OMGD's, which
# trains student and teachers at once. Ours: online, the fast pipeline with a supernet that learns
# from its teacher's images (--distiller online).
#
# run.sh takes no arguments. A stage's script takes the flags of the Python script that it runs;
# they come last and win. finetune, export, test_compressed, test_supernet and latency_compressed
# take the configuration first.
#
# Environment, all optional:
#   DATAROOT      the dataset (database/<name>)
#   OUT           folder of checkpoints and results
#                 (logs/{pix2pix,cycle_gan,gaugan,munit}/<dataset>[_fast|_online|_omgd])
#   TEACHER       weights of a trained original generator (resnet_9blocks; of gaugan a spade without
#                 spectral norm), instead of training one
#   TEACHERS      folder of the trainings of the teachers (OUT; without it, of zebra2horse the one of
#                 horse2zebra, which trains both directions)
#   REAL_STAT_A, REAL_STAT_B
#                 statistics of the real images of each side (.npz); without them FID compares with
#                 val. The full pipelines of unpaired images make them of train and val (published)
#   BUDGET        MACs of the compressed generator
#   CRITERION     what the search ranks by: fid or mIoU (mIoU for cityscapes and coco, else fid)
#   DRN_PATH, DEEPLABV2_PATH
#                 weights that mIoU of cityscapes and coco needs (in pretrained)
#   STUDENT_NGF   omgd: base width of the student, 16, 12 or 8 (16)
#   VGG_PATH      omgd, online: weights of VGG-16, instead of torch's cache or a download; online
#                 needs them only if no discriminator lies beside TEACHER. gaugan: of VGG-19
#   GPU_IDS       -1 = CPU (0)
#   MORE          flags for every stage but export, e.g. "--fid_features random"; quotes hold words
#                 with spaces together
#   MORE_<STAGE>  flags for one stage, e.g. MORE_TRAIN_SUPERNET="--nepochs 5"
#   DRY_RUN       1 = show the commands without running them

# Sourced by {pix2pix,cycle_gan,gaugan,munit}/<dataset>[_fast|_online|_omgd]/recipe.sh, which sets
# DATASET and PIPELINE, of gaugan FAMILY too; the stage scripts beside it call one function each.
CALLED="$(cd "$(dirname "$0")" && pwd)/$(basename "$0")"
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if asks_for_help "$@"; then
  header "$CALLED"
  echo
  header scripts/recipes.sh
  exit 0
fi
need_bash

# ---- the datasets' facts

MODEL=pix2pix DATASET_MODE=aligned GAN_MODE=hinge SPACE=channels-64-pix2pix MUTATE_PROB=0.3 NDF=
SAVE_EPOCH_FREQ=5
case "${FAMILY:-}$DATASET" in
  # Label maps, by SPADE (spade_recipes.sh).
  spadecityscapes)
    NAME=cityscapes-origin DIRECTION=BtoA BATCH=16 DATASET_MODE=cityscapes MODEL=spade
    TEACHER_EPOCHS=(100 100) SUPERNET_EPOCHS=(200 200) DISTILL_EPOCHS=(100 100)
    FINETUNE_EPOCHS=(100 100) SPACE=channels-64 UPSAMPLING=more SAVE_EPOCH_FREQ=10
    BUDGET=${BUDGET:-$([ "$PIPELINE" = full ] && echo 35e9 || echo 32e9)}
    [ "$PIPELINE" != full ] || SUPERNET_EPOCHS=(100 100)
    CRITERION=${CRITERION:-mIoU} ;;
  spadecoco)
    NAME=coco_stuff DIRECTION=BtoA BATCH=32 DATASET_MODE=coco MODEL=spade
    TEACHER_EPOCHS=(100 0) SUPERNET_EPOCHS=(100 0) FINETUNE_EPOCHS=(100 0)
    SPACE=channels-64 UPSAMPLING=normal SAVE_EPOCH_FREQ=1
    BUDGET=${BUDGET:-36e9} CRITERION=${CRITERION:-mIoU} ;;
  edges2shoes-r)
    NAME=edges2shoes-r DIRECTION=AtoB BATCH=4 LAMBDA_RECON=100 LAMBDA_DISTILL=1 MOBILE_NGF=64
    TEACHER_EPOCHS=(5 15) SUPERNET_EPOCHS=(10 30) DISTILL_EPOCHS=(5 15) FINETUNE_EPOCHS=(5 15)
    BUDGET=${BUDGET:-4.9e9} CRITERION=${CRITERION:-fid} ;;
  cityscapes)
    NAME=cityscapes DIRECTION=BtoA BATCH=1 LAMBDA_RECON=100 LAMBDA_DISTILL=1 MOBILE_NGF=96
    TEACHER_EPOCHS=(100 150) SUPERNET_EPOCHS=(200 300) DISTILL_EPOCHS=(100 150) FINETUNE_EPOCHS=()
    BUDGET=${BUDGET:-5.7e9} CRITERION=${CRITERION:-mIoU} ;;
  map2sat)
    NAME=maps DIRECTION=BtoA BATCH=1 LAMBDA_RECON=10 LAMBDA_DISTILL=0.01 MOBILE_NGF=96
    TEACHER_EPOCHS=(100 200) SUPERNET_EPOCHS=(200 400) DISTILL_EPOCHS=(100 200)
    FINETUNE_EPOCHS=(100 200)
    BUDGET=${BUDGET:-4.6e9} CRITERION=${CRITERION:-fid} ;;
  # No pairs, and images in styles, by MUNIT (munit_recipes.sh). Published without fine-tuning.
  edges2shoes-r-unaligned)
    NAME=$DATASET DIRECTION=AtoB DATASET_MODE=unaligned MODEL=munit SPACE=channels-64
    FINETUNE_EPOCHS=() BUDGET=${BUDGET:-2.7e9} CRITERION=${CRITERION:-fid} ;;
  # No pairs: the student of one of the two generators of a CycleGAN. Published for horse2zebra; the
  # others are ours, the same.
  horse2zebra | zebra2horse | summer2winter)
    NAME=$DATASET DIRECTION=AtoB BATCH=1 LAMBDA_RECON=10 LAMBDA_DISTILL=0.01 MOBILE_NGF=64
    MODEL=cycle_gan DATASET_MODE=unaligned GAN_MODE=lsgan SPACE=channels-64-cycleGAN MUTATE_PROB=0.4
    TEACHER_EPOCHS=(100 100) SUPERNET_EPOCHS=(200 200) DISTILL_EPOCHS=(100 100)
    FINETUNE_EPOCHS=(200 200)
    BUDGET=${BUDGET:-3e9} CRITERION=${CRITERION:-fid} ;;
esac
if [ "$DATASET" = zebra2horse ]; then
  NAME=horse2zebra DIRECTION=BtoA TEACHERS="${TEACHERS:-${OUT:-logs/cycle_gan/horse2zebra}}"
fi
unpaired_full() { [ "$MODEL $PIPELINE" = "cycle_gan full" ]; }
DATAROOT="${DATAROOT:-database/$NAME}"
OUT="${OUT:-logs/${MODEL/spade/gaugan}/$DATASET$([ "$PIPELINE" = full ] || echo "_$PIPELINE")}"

# Online, the winner knows its teacher's images by then; against the real ones it gains for long.
# Batches are those that docs/quality.md measured.
if [ "$PIPELINE" = online ]; then
  BATCH=4
  FINETUNE_EPOCHS=($(((SUPERNET_EPOCHS[0] + 2) / 3)) $(((SUPERNET_EPOCHS[1] + 2) / 3)))
fi

# What OMGD's recipes have of their own, by dataset and width of the student. That of map2sat is
# ours: edges2shoes-r's, with the dataset's own weight of the reconstruction and length.
if [ "$PIPELINE" = omgd ]; then
  STUDENT_NGF="${STUDENT_NGF:-16}"
  case "$STUDENT_NGF" in
    16) WIDER_NGF=64 DEEPER_NGF=16 NDF=128 SHARE_D=3 LAMBDA_DISTILL=100 ;;
    12 | 8) WIDER_NGF=48 DEEPER_NGF=12 NDF=96 SHARE_D=3 LAMBDA_DISTILL=1000 ;;
    *) die "STUDENT_NGF $STUDENT_NGF: there are recipes for 16, 12 and 8" ;;
  esac
  TEACHER_FREQ=1 BATCH=4
  case "$DATASET" in
    edges2shoes-r) ONLINE_EPOCHS=(100 100) ;;
    cityscapes)
      ONLINE_EPOCHS=(300 450) BATCH=1 TEACHER_FREQ=3 LAMBDA_DISTILL=0 SAVE_EPOCH_FREQ=25
      [ "$STUDENT_NGF" != 16 ] || SHARE_D=4 ;;
    map2sat) ONLINE_EPOCHS=(100 200) ;;
  esac
  OUT="$OUT/ngf$STUDENT_NGF"
fi

SPLITS="$OUT/splits"
case "$DATASET" in
  zebra2horse) HELD_OUT="${HELD_OUT:-datasets/metas/horse2zebra/train2.meta}" ;;
  summer2winter | coco | edges2shoes-r-unaligned) HELD_OUT="${HELD_OUT:-}" ;; # no list is published: drawn at random
  *) HELD_OUT="${HELD_OUT:-datasets/metas/$DATASET/train2.meta}" ;;
esac
FULL="${TEACHERS:-$OUT}/full" MOBILE="${TEACHERS:-$OUT}/mobile"
DISTILL="$OUT/distill" SUPERNET="$OUT/supernet"
SEARCH="$OUT/search" ONLINE="$OUT/online"
DRN_PATH="${DRN_PATH:-pretrained/drn-d-105_ms_cityscapes.pth}"
DEEPLABV2_PATH="${DEEPLABV2_PATH:-pretrained/deeplabv2_resnet101_msc-cocostuff164k-100000.pth}"
# The full pipeline distils from a mobile teacher and pre-trains the student; the others do neither.
case "$PIPELINE" in
  fast | online) STUDENT_NGF=64 CONFIG_SET=$SPACE ;;
  full) STUDENT_NGF=48 CONFIG_SET=channels-48 ;;
esac
if unpaired_full; then
  STUDENT_NGF=32 CONFIG_SET=channels-32 NDF=64 FINETUNE_EPOCHS=()
  REAL_STAT_A="${REAL_STAT_A:-${TEACHERS:-$OUT}/real_stat_A.npz}"
  REAL_STAT_B="${REAL_STAT_B:-${TEACHERS:-$OUT}/real_stat_B.npz}"
fi

# ---- flags that stages share: each function adds to FLAGS, which `go` uses and empties

FLAGS=()
# Of discriminators that must not learn their images by heart, and of what learns from them.
CHANGED=(--augment_D color translation cutout --ema 0.999)

train_flags() {
  FLAGS+=(--batch_size "$BATCH" --gan_mode "$GAN_MODE" --lambda_recon "$LAMBDA_RECON"
    --nepochs "$1" --nepochs_decay "$2" --save_epoch_freq "$SAVE_EPOCH_FREQ")
}

# teacher_flags: of a CycleGAN where there are no pairs. It trains both directions whatever DIRECTION
# is, which its callers keep to themselves.
teacher_flags() {
  if [ "$MODEL" = cycle_gan ]; then
    FLAGS+=(--model cycle_gan --batch_size "$BATCH" --nepochs "${TEACHER_EPOCHS[0]}"
      --nepochs_decay "${TEACHER_EPOCHS[1]}" --save_epoch_freq 20)
    [ -z "${REAL_STAT_A:-}" ] || FLAGS+=(--real_stat_A_path "$REAL_STAT_A")
    DIRECTION=AtoB
  else
    train_flags "${TEACHER_EPOCHS[@]}"
    # A teacher that its discriminator cannot learn by heart teaches better (docs/quality.md).
    [ "$PIPELINE" != online ] || FLAGS+=("${CHANGED[@]}")
  fi
  measure_flags val
}

student_flags() {
  FLAGS+=(--restore_teacher_G_path "$(teacher)" --student_ngf "$STUDENT_NGF")
  [ -z "$NDF" ] || FLAGS+=(--ndf "$NDF")
  if [ "$PIPELINE" = online ]; then
    online_flags
  else
    FLAGS+=(--lambda_distill "$LAMBDA_DISTILL")
  fi
}

# The student compares its images with those of the trained teacher, by the features of the
# teacher's discriminator, or of VGG-16 where that was not kept.
online_flags() {
  local d
  d="$(beside "$(teacher)" D).pth"
  FLAGS+=(--distiller online --teacher_freq 0 --lambda_distill 0)
  if [ -e "$(teacher)" ] && [ ! -e "$d" ]; then
    FLAGS+=(--feature_net vgg16)
    [ -z "${VGG_PATH:-}" ] || FLAGS+=(--vgg_path "$VGG_PATH")
  else
    FLAGS+=(--restore_D_path "$d")
  fi
}

# What follows the teacher's images alone stays smooth. The winner goes on against the real ones, by
# a discriminator of its own, half as wide as the teacher's, which sees them augmented at random
# (docs/quality.md).
real_flags() {
  FLAGS+=(--lambda_ssim 0 --lambda_style 0 --lambda_feature 0 --lambda_tv 0 --student_ndf 64
    --lambda_adversarial 1 --lambda_real "$LAMBDA_RECON" "${CHANGED[@]}")
}

# measure_flags PHASE: statistics of the real images, where they are known, and mIoU where the task
# is label -> photo.
measure_flags() {
  local real="REAL_STAT_${DIRECTION:3}"
  [ -z "${!real:-}" ] || FLAGS+=(--real_stat_path "${!real}")
  [ "$CRITERION" = mIoU ] || return 0
  if [ "$DATASET_MODE" = coco ]; then
    FLAGS+=(--deeplabv2_path "$DEEPLABV2_PATH")
    return
  fi
  FLAGS+=(--drn_path "$DRN_PATH"
    --cityscapes_path "${CITYSCAPES_PATH:-database/cityscapes-origin}"
    --table_path "${TABLE_DIR:-datasets/metas/$DATASET}/${1}_table.txt")
}

# start_from G: continue a student with the discriminator and the adaptors of its own run, where
# they are saved beside it. New ones would first have to learn what those know. An online student
# has neither.
start_from() {
  local d a
  d="$(beside "$1" D).pth" a="$(beside "$1" A)"
  FLAGS+=(--restore_student_G_path "$1")
  [ "$PIPELINE" != online ] || return 0
  [ -e "$1" ] && [ ! -e "$d" ] || FLAGS+=(--restore_D_path "$d")
  [ -e "$1" ] && [ ! -e "$a-0.pth" ] || FLAGS+=(--restore_A_path "$a")
}

# more STAGE: add the flags of MORE and MORE_<STAGE> to FLAGS.
more() {
  local name="MORE_${1^^}" words
  # These read no images to train or measure on: MORE is not for them.
  [[ "$1" = @(export|remove_spectral_norm|assemble) ]] && words="${!name:-}" || words="${MORE:-} ${!name:-}"
  [ -n "${words// /}" ] || return 0
  words="$("$PYTHON" -c 'import shlex, sys; print("\n".join(shlex.split(sys.argv[1])))' "$words" \
    2>/dev/null)" || die "MORE or $name: a quote is not closed"
  mapfile -t words <<<"$words"
  FLAGS+=("${words[@]}")
}

# do_stage STAGE SCRIPT FLAG...: FLAGS, the environment's flags, then the caller's. While run.sh
# checks all commands, only record it.
do_stage() {
  local stage=$1 script=$2 flags
  shift 2
  more "$stage"
  flags=("${FLAGS[@]}" "$@")
  FLAGS=()
  if [ -n "${COMMANDS:-}" ]; then
    printf '%s\0' "$stage" "$((${#flags[@]} + 1))" "$script" "${flags[@]}" >>"$COMMANDS"
  else
    py "$script" "${flags[@]}"
  fi
}

# go STAGE SCRIPT FLAG...: run a stage's script on the dataset.
go() {
  FLAGS=(--dataroot "$DATAROOT" --dataset_mode "$DATASET_MODE" --direction "$DIRECTION"
    --gpu_ids "${GPU_IDS:-0}" "${FLAGS[@]}")
  do_stage "$@"
}

# taught RUN: the generator of a teacher's training. A CycleGAN's best is that of either direction:
# its latest is taken (published).
taught() {
  if [ "$MODEL" = cycle_gan ]; then
    echo "$1/checkpoints/latest_net_G_${DIRECTION:0:1}.pth"
  else
    best_of "$1/checkpoints"
  fi
}

# The original generator, and the one that the student learns from.
original() { echo "${TEACHER:-$(taught "$FULL")}"; }
teacher() { if [ "$PIPELINE" = full ]; then taught "$MOBILE"; else original; fi; }
need_teacher() {
  [ -z "${TEACHER:-}" ] || [ -e "$TEACHER" ] || [ -n "${DRY_RUN:-}" ] ||
    die "TEACHER $TEACHER: no such file; set it to the weights of a trained resnet_9blocks" \
      "generator of $DATASET"
}
need_segmenter() {
  local name=DRN_PATH how="scripts/download.py drn-cityscapes tells where they are"
  if [ "$DATASET_MODE" = coco ]; then
    name=DEEPLABV2_PATH how="scripts/download.py deeplab-cocostuff brings them"
  fi
  [ "$CRITERION" != mIoU ] || [ -e "${!name}" ] || [ -n "${DRY_RUN:-}" ] ||
    die "$name ${!name}: no such file; mIoU needs these weights ($how)." \
      "CRITERION=fid does without"
}

need_config() {
  [ -n "${1:-}" ] || die "usage: bash $0 CONFIG [FLAG...], e.g. 16_16_40_40_40_64_24_16"
}

# ---- the stages

train_full() {
  local DIRECTION=$DIRECTION
  teacher_flags
  FLAGS+=(--netG resnet_9blocks --log_dir "$FULL")
  go train_full train.py "$@"
}

train_mobile() {
  local DIRECTION=$DIRECTION
  teacher_flags
  FLAGS+=(--netG mobile_resnet_9blocks --ngf "$MOBILE_NGF" --log_dir "$MOBILE")
  go train_mobile train.py "$@"
}

distill() {
  train_flags "${DISTILL_EPOCHS[@]}"
  student_flags
  measure_flags val
  FLAGS+=(--restore_pretrained_G_path "$(teacher)" --log_dir "$DISTILL")
  if [ "$MODEL" = cycle_gan ]; then
    split
    FLAGS+=(--meta_path "$SPLITS/train1.meta" --restore_D_path "$(beside "$(teacher)" D).pth")
  fi
  go distill distill.py "$@"
}

# Images to hold out where no list is published
DRAWN=120
split() {
  [ -z "${COMMANDS:-}" ] || return 0
  local held_out=(--held_out "$HELD_OUT")
  [ -n "$HELD_OUT" ] || held_out=(--count "$DRAWN")
  [ -e "$SPLITS/train1.meta" ] || [ -e "$SPLITS/train1A.meta" ] ||
    py scripts/make_split.py "$DATAROOT" --dataset_mode "$DATASET_MODE" "${held_out[@]}" \
      --output "$SPLITS"
}

train_supernet() {
  need_teacher
  split
  train_flags "${SUPERNET_EPOCHS[@]}"
  student_flags
  measure_flags val
  FLAGS+=(--config_set "$CONFIG_SET" --meta_path "$SPLITS/train1.meta" --log_dir "$SUPERNET")
  [ "$PIPELINE" != full ] || start_from "$(best_of "$DISTILL/checkpoints")"
  go train_supernet train_supernet.py "$@"
}

# The subset of train that was held out judges the subnets; the test images stay unseen. The full
# pipeline of unpaired images takes the held-out inputs alone, beside the statistics of the real
# images; its callers keep DATASET_MODE and DATAROOT to themselves.
search_flags() {
  local held_out="$SPLITS/train2.meta" batch=8 side=${DIRECTION:0:1}
  if unpaired_full; then
    DATASET_MODE=single DATAROOT="$DATAROOT/train$side"
    held_out="$SPLITS/train2$side.meta" batch=32
  fi
  measure_flags train
  FLAGS+=(--phase train --meta_path "$held_out" --config_set "$CONFIG_SET"
    --restore_G_path "$(best_of "$SUPERNET/checkpoints")" --budget "$BUDGET"
    --criterion "$CRITERION" --batch_size "$batch")
}

evolution_search() {
  local DATASET_MODE=$DATASET_MODE DATAROOT=$DATAROOT
  split
  search_flags
  FLAGS+=(--mutate_prob "$MUTATE_PROB" --output_dir "$SEARCH")
  go evolution_search evolution_search.py "$@"
}

search() {
  local DATASET_MODE=$DATASET_MODE DATAROOT=$DATAROOT
  split
  search_flags
  FLAGS+=(--output_path "$SEARCH.jsonl")
  go search search.py "$@"
}

# What the pipeline searches by: the full one exhaustively, the others genetically.
find_subnet() { if [ "$PIPELINE" = full ]; then search "$@"; else evolution_search "$@"; fi; }

finetune() {
  need_config "$@"
  need_teacher
  local config=$1
  shift
  if [ "${#FINETUNE_EPOCHS[@]}" -eq 0 ]; then
    echo "$DATASET, $PIPELINE pipeline: published without fine-tuning;" \
      "give --nepochs and --nepochs_decay to try"
    FINETUNE_EPOCHS=(5 15)
  fi
  train_flags "${FINETUNE_EPOCHS[@]}"
  student_flags
  [ "$PIPELINE" != online ] || real_flags
  measure_flags val
  start_from "$(best_of "$SUPERNET/checkpoints")"
  FLAGS+=(--config_str "$config" --log_dir "$OUT/finetune_$config")
  go finetune train_supernet.py "$@"
}

# From the fine-tuned supernet where there is one: its best checkpoint is the better of before and
# after.
export_subnet() {
  need_config "$@"
  local config=$1 from="$SUPERNET/checkpoints"
  shift
  [ ! -d "$OUT/finetune_$config/checkpoints" ] || from="$OUT/finetune_$config/checkpoints"
  FLAGS+=(--input_path "$(best_of "$from")" --config_str "$config"
    --output_path "$OUT/compressed_$config/latest_net_G.pth")
  do_stage export export.py "$@"
}

# test_model NAME CHECKPOINT FLAG...: images and measures of a model.
test_model() {
  local name=$1
  measure_flags val
  FLAGS+=(--restore_G_path "$2" --results_dir "$OUT/results/$name" --batch_size 8)
  shift 2
  go "test_$name" test.py "$@"
}

# time_model NAME CHECKPOINT FLAG...: speed of a model.
time_model() {
  local name=$1
  FLAGS+=(--restore_G_path "$2" --results_dir "$OUT/results/$name")
  shift 2
  go "latency_$name" latency.py "$@"
}

compressed() { echo "$OUT/compressed_$1/latest_net_G.pth"; }

test_full() { need_teacher; test_model full "$(original)" "$@"; }
test_mobile() { test_model mobile "$(best_of "$MOBILE/checkpoints")" "$@"; }
test_distill() { test_model distill "$(best_of "$DISTILL/checkpoints")" "$@"; }
test_supernet() {
  need_config "$@"
  FLAGS+=(--config_str "$1")
  test_model supernet "$(best_of "$SUPERNET/checkpoints")" "${@:2}"
}
test_compressed() { need_config "$@"; test_model compressed "$(compressed "$1")" "${@:2}"; }
latency_full() { need_teacher; time_model full "$(original)" "$@"; }
latency_mobile() { time_model mobile "$(best_of "$MOBILE/checkpoints")" "$@"; }
latency_compressed() { need_config "$@"; time_model compressed "$(compressed "$1")" "${@:2}"; }
get_real_stat() {
  if unpaired_full; then
    real_stat_of A "$@"
    real_stat_of B "$@"
  else
    FLAGS+=(--output_path "$OUT/real_stat.npz")
    go get_real_stat get_real_stat.py "$@"
  fi
}

# real_stat_of SIDE FLAG...: of all real images of a side, which are those of train and val.
real_stat_of() {
  local side=$1 output="REAL_STAT_$1" images="$OUT/real_$1" DATASET_MODE=single DATAROOT=$DATAROOT
  shift
  [ -n "${DRY_RUN:-}" ] || link_images "$images" "$DATAROOT/train$side" "$DATAROOT/val$side"
  DATAROOT="$images"
  FLAGS+=(--output_path "${!output}")
  go get_real_stat get_real_stat.py "$@"
}

# link_images FOLDER SOURCE...: links to the files of several folders, in folders of their names.
# Links of an earlier call go first.
link_images() {
  local folder=$1 source
  shift
  [ ! -d "$folder" ] || find "$folder" -type l -exec rm {} +
  for source in "$@"; do
    [ -d "$source" ] || die "$source: no such folder; DATAROOT needs trainA, trainB, valA and valB"
    mkdir -p "$folder/$(basename "$source")"
    source="$(cd "$source" && pwd)"
    find -L "$source" -type f ! -name '.*' -exec sh -c 'ln -s "$@" "$0"' \
      "$folder/$(basename "$source")" {} +
  done
}

# ---- the stages of OMGD: one training, then what becomes of the student

train_online() {
  train_flags "${ONLINE_EPOCHS[@]}"
  measure_flags val
  FLAGS+=(--distiller online --student_ngf "$STUDENT_NGF" --teacher_netG mobile_resnet_9blocks
    --teacher_ngf "$WIDER_NGF" --deeper_netG mobile_deepest_resnet --deeper_ngf "$DEEPER_NGF"
    --ndf "$NDF" --share_D "$SHARE_D" --teacher_freq "$TEACHER_FREQ" --feature_net vgg16
    --lambda_distill "$LAMBDA_DISTILL" --log_dir "$ONLINE")
  [ "$LAMBDA_DISTILL" = 0 ] || FLAGS+=(--tap_loss channel)
  [ -z "${VGG_PATH:-}" ] || FLAGS+=(--vgg_path "$VGG_PATH")
  go train_online distill.py "$@"
}

# of_online NAME: a network of the training: G, T (the wider teacher) or T2 (the deeper one).
of_online() { beside "$(best_of "$ONLINE/checkpoints")" "$1.pth"; }
student() { echo "$OUT/compressed/latest_net_G.pth"; }

export_student() {
  FLAGS+=(--input_path "$(of_online G)" --output_path "$(student)")
  do_stage export export.py "$@"
}

test_wider() { test_model wider "$(of_online T)" "$@"; }
test_deeper() { test_model deeper "$(of_online T2)" "$@"; }
test_student() { test_model compressed "$(student)" "$@"; }
latency_wider() { time_model wider "$(of_online T)" "$@"; }
latency_student() { time_model compressed "$(student)" "$@"; }

online_stages() {
  stage train_online "$ONLINE/results.json" train_online
  stage export "$(student)" export_student
  stage test_wider "$OUT/results/wider/results.json" test_wider
  stage test_deeper "$OUT/results/deeper/results.json" test_deeper
  stage test_compressed "$OUT/results/compressed/results.json" test_student
  stage latency_wider "$OUT/results/wider/latency.json" latency_wider
  stage latency_compressed "$OUT/results/compressed/latency.json" latency_student
}

# ---- everything in order, each stage skipped when its result is there

stages() {
  if unpaired_full; then
    stage get_real_stat_A "$REAL_STAT_A" real_stat_of A
    stage get_real_stat_B "$REAL_STAT_B" real_stat_of B
  fi
  [ -n "${TEACHER:-}" ] || stage train_full "$FULL/results.json" train_full
  if [ "$PIPELINE" = full ]; then
    stage train_mobile "$MOBILE/results.json" train_mobile
    stage distill "$DISTILL/results.json" distill
  fi
  student_stages
}

# From the teacher on.
student_stages() {
  stage train_supernet "$SUPERNET/results.json" train_supernet
  local config found="$OUT/results/compressed" searched="BUDGET $BUDGET, CRITERION $CRITERION"
  same_settings "$SEARCH/done" "$searched" "$SEARCH"
  stage search "$SEARCH/done" find_subnet
  write_settings "$SEARCH/done" "$searched"
  config=$(config_of "$SEARCH")
  # Where a search was done again and found another subnet, the figures are not its own.
  [ ! -e "$SEARCH/summary.json" ] || same_settings "$found.config" "$config" "$found"
  [ "${#FINETUNE_EPOCHS[@]}" -eq 0 ] ||
    stage finetune "$OUT/finetune_$config/results.json" finetune "$config"
  stage export "$OUT/compressed_$config/latest_net_G.pth" export_subnet "$config"
  write_settings "$found.config" "$config"
  stage test_full "$OUT/results/full/results.json" test_full
  stage test_compressed "$found/results.json" test_compressed "$config"
  stage latency_full "$OUT/results/full/latency.json" latency_full
  stage latency_compressed "$found/latency.json" latency_compressed "$config"
}

# The flags of every stage are checked before the first starts: a mistake in the last one's would
# else be found days later. check_stages STAGES
check_stages() {
  local COMMANDS
  COMMANDS="$(mktemp)"
  trap 'rm -f "$COMMANDS"' EXIT
  (DRY_RUN=1 && "$1" >/dev/null) || exit 2
  [ ! -s "$COMMANDS" ] || "$PYTHON" scripts/check_flags.py <"$COMMANDS" || exit 2
  rm -f "$COMMANDS"
  trap - EXIT
}

# go_through STAGES ARGUMENT...: run.sh, which takes no arguments.
go_through() {
  [ $# -eq 1 ] || die "run.sh takes no arguments, got $2; flags go into MORE and MORE_<STAGE>" \
    "(--help)"
  need_segmenter
  check_stages "$1"
  "$1"
}

# summary TEACHER FLAG...: the page that compares a teacher with the compressed generator.
summary() {
  py scripts/summarise.py --teacher "$OUT/results/$1" --compressed "$OUT/results/compressed" \
    "${@:2}" --output "$OUT/index.html" --title "$DATASET, $PIPELINE pipeline"
}

run_all() {
  need_teacher
  go_through stages "$@"
  # The summary shows the quality before and after fine-tuning, where there was one.
  local tuned=() folder
  folder="$OUT/finetune_$(config_of "$SEARCH")"
  if [ "${#FINETUNE_EPOCHS[@]}" -ne 0 ] && [ -n "${DRY_RUN:-}" ] || [ -e "$folder/log.jsonl" ]; then
    tuned=(--finetune "$folder")
  fi
  summary full --search "$SEARCH" ${tuned[@]+"${tuned[@]}"}
}

run_online() {
  go_through online_stages "$@"
  summary wider
}

case "$MODEL" in
  spade | munit) source "$(dirname "${BASH_SOURCE[0]}")/${MODEL}_recipes.sh" ;;
esac
