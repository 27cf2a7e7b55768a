#!/usr/bin/env bash
# The quality study on a folder of aligned pairs: how close a small network comes to its teacher
# when it is (a) trained alone, (b) compressed by GAN Compression's fast pipeline and (c) by its full
# one, (d) distilled online at 1/12 and (e) at 1/40 of the teacher's MACs, from a tuned teacher. Run
# it again to continue; what is done is not done twice.
#   bash scripts/study.sh DATAROOT --size 64 [FLAG VALUE ...]
# DATAROOT holds train and val. A part of train is held out: it judges every choice, during training
# and in the searches. val is used by the final test alone. Results: <output>/index.html.
#
#   --size PX         width and height that all images are brought to, a multiple of 4
#   --direction D     AtoB or BtoA, which side is the input (AtoB)
#   --output DIR      everything is written here (logs/study)
#   --seeds "N ..."   one study per seed (233 1 2)
#   --rows "R ..."    of a b c d e (a b c d e)
#   --epochs N        epochs of the teacher; the others follow from it (300)
#   --ngf N           width of the teacher (32)
#   --held_out FILE   names of train that are held out, one per line
#   --count N         instead: hold out N, drawn at random (300)
#   --space LIST      widths of every gene for d and e (24,20,16,12,8,6,4), or a named --config_set
#   --space_b LIST    the same for b (32,28,24,20,16,12,8)
#   --space_c LIST    the same for c (half of --config_set channels-48, gene by gene)
#   --more FLAGS      flags of every stage, e.g. "--fid_weights PTH"; they come last and win
#   --more_train, --more_search, --more_test, --more_latency FLAGS
#                     flags of one kind of stage, e.g. --more_train "--cuda_graphs"
#
# Relative paths start from the folder that it is called in; those in --more and its kin, and
# logs/study, from the project's. DRY_RUN=1 shows the commands without running them.
CALLED_IN="$PWD"
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# ---- the recipes, each in one place

# 2048 features would need more images than a small set has to test on.
MEASURE=(--fid_dims 768)
# How networks are run for their time; what is not installed is skipped. The page shows the fastest.
FORMS=(--backends eager onnxruntime openvino)
# Of every training; a recipe's own flags come after these and win.
TRAIN=(--batch_size 4 --ndf 64 --lambda_recon 10 --eval_batch_size 16)
# Of every search: some 800 subnets.
SEARCH=(--mutate_prob 0.3 --population_size 50 --evolution_iters 20 --batch_size 16)
# (b) and (c) as published for maps, in widths halved.
LAYERWISE=(--lambda_distill 0.01)
# A good teacher makes good students: that of (d) and (e) goes on for a third of its epochs, with
# augmented images and averaged weights.
TUNED=(--augment_D color translation cutout --ema 0.999)
# (d) and (e), ours: the losses of supernet and fine-tuning, then what only one of them takes.
OURS=(--distiller online --teacher_freq 0 --lambda_distill 0)
OURS_SUPERNET=()
# What follows the teacher's images alone stays smooth: the winner goes on against the real ones,
# by a discriminator of its own.
OURS_FINETUNE=(--lambda_ssim 0 --lambda_style 0 --lambda_feature 0 --lambda_tv 0
  --lambda_adversarial 1 --lambda_real 10 --student_ndf 32 "${TUNED[@]}")

# ---- the command line

if asks_for_help "$@"; then
  header scripts/study.sh
  exit 0
fi
need_bash

DATAROOT='' SIZE='' DIRECTION=AtoB OUT='' SEEDS="233 1 2" ROWS="a b c d e" EPOCHS=300 NGF=32
HELD_OUT='' COUNT=300 SPACE=24,20,16,12,8,6,4 SPACE_B=32,28,24,20,16,12,8
SPACE_C="24,16;24,16;24,20,16;24,20,16;24,20,16;24,20,16;24,16,12,8;24,16,12,8"
MORE='' MORE_TRAIN='' MORE_SEARCH='' MORE_TEST='' MORE_LATENCY=''

while [ $# -gt 0 ]; do
  case "$1" in
    --size) name=SIZE ;;
    --direction | --seeds | --rows | --epochs | --ngf | --held_out | --count | --space | \
      --space_b | --space_c | --more | --more_train | --more_search | --more_test | --more_latency)
      name="${1#--}" name="${name^^}" ;;
    --output) name=OUT ;;
    -*) die "unknown flag $1 (--help)" ;;
    *)
      [ -z "$DATAROOT" ] || die "one folder of pairs, got $DATAROOT and $1 (--help)"
      DATAROOT=$1
      shift
      continue ;;
  esac
  # Flags are the values of --more and its kin alone.
  [ $# -ge 2 ] && [[ "$1" == --more* || "$2" != --* ]] || die "$1 needs a value (--help)"
  printf -v "$name" %s "$2"
  shift 2
done

# The folder keeps the name of the list as it was typed.
HELD_OUT_NAME=$HELD_OUT
# In the project's folder paths stay as they are: trainings that go on compare their flags.
if [ ! "$CALLED_IN" -ef "$PWD" ]; then
  for name in DATAROOT OUT HELD_OUT; do
    [[ -z "${!name}" || "${!name}" == /* ]] || printf -v "$name" %s "${CALLED_IN%/}/${!name}"
  done
fi
OUT="${OUT:-logs/study}"

# number FLAG VALUE LEAST MOST: die unless it is a whole number within these.
number() {
  [[ "$2" =~ ^(0|[1-9][0-9]{0,9})$ ]] && [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] ||
    die "$1 '$2': give a whole number from $3 to $4"
}

[ -n "$DATAROOT" ] || die "give the folder of the pairs: bash scripts/study.sh DATAROOT --size 64"
[ -n "$SIZE" ] || die "--size is missing: the width and height of all images, e.g. --size 64"
number --size "$SIZE" 24 4096
[ $((SIZE % 4)) -eq 0 ] || die "--size $SIZE: give a multiple of 4"
[[ "$DIRECTION" =~ ^(AtoB|BtoA)$ ]] || die "--direction '$DIRECTION': it is AtoB or BtoA"
[[ "$SEEDS" =~ [^\ ] ]] || die "--seeds is empty: give at least one"
for seed in $SEEDS; do number --seeds "$seed" 0 4294967295; done
[[ "$ROWS" =~ [^\ ] ]] || die "--rows is empty: give at least one of a b c d e"
given=" $ROWS " ROWS=''
for row in $given; do
  [[ "$row" =~ ^[a-e]$ ]] || die "--rows '$row': the rows are a b c d e"
done
for row in a b c d e; do [[ "$given" != *" $row "* ]] || ROWS+="$row "; done
number --epochs "$EPOCHS" 1 1000000
number --ngf "$NGF" 2 1024
number --count "$COUNT" 2 1000000000
[ -z "$HELD_OUT" ] || [ -f "$HELD_OUT" ] || die "--held_out $HELD_OUT: no such file"
if [ -z "${DRY_RUN:-}" ]; then
  [ -d "$DATAROOT" ] || die "$DATAROOT: no such folder"
  for phase in train val; do
    [ -d "$DATAROOT/$phase" ] || [ -d "$DATAROOT/${phase}A" ] ||
      die "$DATAROOT has no folder $phase of pairs, and no ${phase}A"
  done
fi

# split_words NAME: make the text of a variable an array of its words; quotes hold words with spaces
# together.
split_words() {
  local -n variable=$1
  local words
  words="$("$PYTHON" -c 'import shlex, sys; print("\n".join(shlex.split(sys.argv[1])))' \
    "$variable" 2>/dev/null)" || die "--${1,,}: a quote is not closed"
  variable=()
  [ -z "$words" ] || mapfile -t variable <<<"$words"
}
for name in MORE MORE_TRAIN MORE_SEARCH MORE_TEST MORE_LATENCY; do split_words "$name"; done

numbers="$("$PYTHON" scripts/study_numbers.py --size "$SIZE" --ngf "$NGF" --rows "$ROWS" \
  --space "$SPACE" --space_b "$SPACE_B" --space_c "$SPACE_C")" || exit 2
mapfile -t numbers <<<"$numbers"
# Training images have a margin of an eighth for random crops, in multiples of 4.
LOAD_SIZE=$((SIZE * 9 / 32 * 4))
BUDGET_12=${numbers[0]} BUDGET_40=${numbers[1]} ALONE_NGF=${numbers[2]}
STUDENT_NGF=${numbers[3]} STUDENT_NGF_B=${numbers[4]} STUDENT_NGF_C=${numbers[5]}

# ---- how stages are run

# go KIND SCRIPT FLAG...: run a script on the study's images, of KIND train, search, test or
# latency. While all commands are checked, only record it.
go() {
  local -n own="MORE_${1^^}"
  local kind=$1 script=$2
  shift 2
  local flags=(--dataroot "$OUT/data" --direction "$DIRECTION" --crop_size "$SIZE" "$@"
    "${MORE[@]}" "${own[@]}")
  if [ -n "${COMMANDS:-}" ]; then
    printf '%s\0' "$STAGE" "$((${#flags[@]} + 1))" "$script" "${flags[@]}" >>"$COMMANDS"
  else
    py "$script" "${flags[@]}"
  fi
}

# seed_stage NAME RESULT KIND SCRIPT FLAG...: a stage of one seed, into the seed's folder RUN.
seed_stage() {
  STAGE="$1, seed $SEED"
  stage "$STAGE" "$RUN/$2" go "${@:3}"
}

# train NAME SCRIPT EPOCHS FLAG...: the learning rate is constant for a third of the epochs, then
# falls. Twenty evaluations; the best network on the held-out images is kept.
train() {
  local name=$1 script=$2 epochs=$3
  shift 3
  seed_stage "$name" "$name/results.json" train "$script" --load_size "$LOAD_SIZE" \
    "${MEASURE[@]}" "${TRAIN[@]}" --nepochs $((epochs / 3)) \
    --nepochs_decay $((epochs - epochs / 3)) --save_epoch_freq $(((epochs + 19) / 20)) \
    --seed "$SEED" --log_dir "$RUN/$name" "$@"
}

# search NAME SUPERNET SPACE BUDGET: on the held-out images, which are phase val of the study.
search() {
  seed_stage "$1" "$1/index.html" search evolution_search.py --load_size "$SIZE" --phase val \
    "${MEASURE[@]}" "${SEARCH[@]}" --restore_G_path "$(trained "$2")" --config_set "$3" \
    --budget "$4" --seed "$SEED" --output_dir "$RUN/$1"
}

# trained NAME: the best generator of a training of this seed.
trained() { best_of "$RUN/$1/checkpoints"; }

# start_from NAME: set START to the flags that continue a student with the discriminator and the
# adaptors of its training.
start_from() {
  local student adaptors
  student="$(trained "$1")"
  adaptors="$(beside "$student" A)"
  START=(--restore_student_G_path "$student" --restore_D_path "$(beside "$student" D).pth")
  [ -e "$student" ] && [ ! -e "$adaptors-0.pth" ] || START+=(--restore_A_path "$adaptors")
}

# ---- the images

# Both lists, and what this study is: a folder belongs to one from here on.
split() {
  local which=(--count "$COUNT")
  [ -z "$HELD_OUT" ] || which=(--held_out "$HELD_OUT")
  py scripts/make_split.py "$DATAROOT" "${which[@]}" --output "$OUT/splits"
  write_settings "$OUT/settings.txt" "$(settings)"
}

# All that decides a result; seeds and rows may be added later. Folders of older versions lack the
# checksum, and go on.
settings() {
  [ -z "$HELD_OUT" ] || echo "checksum of --held_out: $(cksum <"$HELD_OUT")"
  printf '%s\n' "DATAROOT $(cd "$DATAROOT" 2>/dev/null && pwd || echo "$DATAROOT")" \
    "--size $SIZE" "--direction $DIRECTION" "--epochs $EPOCHS" "--ngf $NGF" "--held_out $HELD_OUT_NAME" "--count $COUNT" "--space $SPACE" \
    "--space_b $SPACE_B" "--space_c $SPACE_C" "--more ${MORE[*]}" \
    "--more_train ${MORE_TRAIN[*]}" "--more_search ${MORE_SEARCH[*]}" "--more_test ${MORE_TEST[*]}" \
    "--more_latency ${MORE_LATENCY[*]}" "MEASURE ${MEASURE[*]}" "TRAIN ${TRAIN[*]}" \
    "SEARCH ${SEARCH[*]}" "LAYERWISE ${LAYERWISE[*]}" "TUNED ${TUNED[*]}" "OURS ${OURS[*]}" \
    "OURS_SUPERNET ${OURS_SUPERNET[*]}" "OURS_FINETUNE ${OURS_FINETUNE[*]}"
}

# Stored at the size that they are used at. Trainings and searches are judged by phase val of these
# images, the held-out part of train. Phase test is val of DATAROOT.
images() {
  resize train "$LOAD_SIZE" train --meta_path "$OUT/splits/train1.meta"
  resize train "$SIZE" val --meta_path "$OUT/splits/train2.meta"
  resize val "$SIZE" test
  [ -n "${DRY_RUN:-}" ] || touch "$OUT/data/done"
}

# resize PHASE SIZE NEW_PHASE FLAG...
resize() {
  py scripts/resize_pairs.py "$DATAROOT" --phase "$1" --size "$2" --output "$OUT/data/$3" "${@:4}"
}

# Two halves of the test images, for the noise of the measure.
halves() {
  local count
  count="$(find "$OUT/data/test" -name '*.png' 2>/dev/null | wc -l || true)"
  [ "$count" -ge 4 ] || [ -n "${DRY_RUN:-}" ] ||
    die "$DATAROOT/val holds $count images; the study needs 4 or more"
  py scripts/make_split.py "$OUT/data" --phase test --count $((count / 2)) --output "$OUT/halves"
}

# ---- the networks: a function per row

teacher() { train teacher train.py "$EPOCHS" --netG resnet_9blocks --ngf "$NGF"; }

# Of (d) and (e). It is measured beside the first.
tuned() {
  local start
  start="$(trained teacher)"
  train tuned train.py $(((EPOCHS + 2) / 3)) --netG resnet_9blocks --ngf "$NGF" "${TUNED[@]}" \
    --restore_G_path "$start" --restore_D_path "$(beside "$start" D).pth"
}

row_a() { train alone train.py "$EPOCHS" --netG mobile_resnet_9blocks --ngf "$ALONE_NGF"; }

# The fast pipeline: of the teacher itself, from random weights.
row_b() { layerwise layerwise teacher "$STUDENT_NGF_B" "$SPACE_B"; }

# The full pipeline: of a mobile teacher, half as wide again (published for maps), and from a student
# that was distilled from it before. Published with an exhaustive search; here that of the others.
row_c() {
  local mobile
  train mobile train.py "$EPOCHS" --netG mobile_resnet_9blocks --ngf $((NGF * 3 / 2))
  mobile="$(trained mobile)"
  train distilled distill.py "$EPOCHS" "${LAYERWISE[@]}" --student_ngf "$STUDENT_NGF_C" \
    --restore_teacher_G_path "$mobile" --restore_pretrained_G_path "$mobile"
  start_from distilled
  layerwise full mobile "$STUDENT_NGF_C" "$SPACE_C" "${START[@]}"
}

# layerwise NAME TEACHER NGF SPACE [FLAG...]: supernet, search and tuning; FLAGs of the supernet
# alone.
layerwise() {
  local name=$1 space=$4
  local student=("${LAYERWISE[@]}" --restore_teacher_G_path "$(trained "$2")" --student_ngf "$3")
  shift 4
  train "${name}_supernet" train_supernet.py $((2 * EPOCHS)) "${student[@]}" \
    --config_set "$space" "$@"
  search "${name}_search" "${name}_supernet" "$space" "$BUDGET_12"
  start_from "${name}_supernet"
  train "$name" train_supernet.py "$EPOCHS" "${student[@]}" "${START[@]}" \
    --config_str "$(config_of "$RUN/${name}_search")"
}

row_d() { ours online12 "$BUDGET_12"; }

row_e() { ours online40 "$BUDGET_40"; }

# ours NAME BUDGET: both budgets share one teacher and one supernet.
ours() {
  tuned
  local student=("${OURS[@]}" --restore_teacher_G_path "$(trained tuned)"
    --restore_D_path "$(beside "$(trained tuned)" D).pth" --student_ngf "$STUDENT_NGF")
  train online_supernet train_supernet.py $((2 * EPOCHS)) "${student[@]}" "${OURS_SUPERNET[@]}" \
    --config_set "$SPACE"
  search "$1_search" online_supernet "$SPACE" "$2"
  train "$1" train_supernet.py $(((2 * EPOCHS + 2) / 3)) "${student[@]}" "${OURS_FINETUNE[@]}" \
    --restore_student_G_path "$(trained online_supernet)" \
    --config_str "$(config_of "$RUN/$1_search")"
}

# ---- the measures

declare -A FINAL=([a]=alone [b]=layerwise [c]=full [d]=online12 [e]=online40)

# The teachers and the networks of all rows side by side. Another choice of rows is another test.
compare() {
  local networks=() row
  [[ "$ROWS" != *c* ]] || networks+=("$(trained mobile)")
  [[ "$ROWS" != *[de]* ]] || networks+=("$(trained tuned)")
  for row in $ROWS; do networks+=("$(trained "${FINAL[$row]}")"); done
  networks=(--restore_teacher_G_path "$(trained teacher)" --restore_G_path "${networks[@]:0:1}"
    ${networks[1]+--compare "${networks[@]:1}"})
  seed_stage test "test_${ROWS// /}/results.json" test test.py --load_size "$SIZE" --phase test \
    "${MEASURE[@]}" --batch_size 16 "${networks[@]}" --results_dir "$RUN/test_${ROWS// /}"
  # The test counts MACs as published, this counts what is multiplied: the page shows both.
  seed_stage latency "latency_${ROWS// /}/latency.json" latency latency.py --load_size "$SIZE" \
    --phase test --batch_size 1 --macs_convention exact "${FORMS[@]}" "${networks[@]}" \
    --results_dir "$RUN/latency_${ROWS// /}"
}

# How much the measure itself varies: the same teacher on two halves of the test images.
noise() {
  local half
  for half in 1 2; do
    seed_stage "noise, half $half" "noise$half/results.json" test test.py --load_size "$SIZE" \
      --phase test --meta_path "$OUT/halves/train$half.meta" "${MEASURE[@]}" --batch_size 16 \
      --restore_G_path "$(trained teacher)" --results_dir "$RUN/noise$half"
  done
}

# ---- everything in order, each stage skipped when its result is there

seed_stages() {
  local row
  SEED=$1 RUN="$OUT/seed$1"
  teacher
  for row in $ROWS; do "row_$row"; done
  compare
  noise
}

stages() {
  local seed
  stage split "$OUT/settings.txt" split
  stage images "$OUT/data/done" images
  stage halves "$OUT/halves/train2.meta" halves
  for seed in $SEEDS; do
    seed_stages "$seed"
    py scripts/study_page.py "$OUT" --title "Study of $(basename "$DATAROOT")"
  done
}

# A mistake in the flags of the last stage would else be found days later.
check_stages() {
  local COMMANDS seed
  COMMANDS="$(mktemp)"
  trap 'rm -f "$COMMANDS"' EXIT
  for seed in $SEEDS; do
    (DRY_RUN=1 && seed_stages "$seed" >/dev/null) || exit 2
  done
  [ ! -s "$COMMANDS" ] || "$PYTHON" scripts/check_flags.py --remedy \
    "--more holds flags of every stage, --more_train, --more_search, --more_test and \
--more_latency those of one kind" <"$COMMANDS" || exit 2
  rm -f "$COMMANDS"
  trap - EXIT
}

# Results of other settings must not be mixed with those of this study.
check_folder() {
  local had
  [ -e "$OUT/settings.txt" ] || return 0
  had="$(diff <(settings) "$OUT/settings.txt" | sed -n 's/^> //p' | head -n 1)" || true
  [ -z "$had" ] || die "--output $OUT holds a study with other settings, it had: $had. Give the" \
    "same or another --output"
}

check_stages
[ -n "${DRY_RUN:-}" ] || check_folder
stages
