"""The update rules (SPEC 3): the teacher's, and a student's, which learns by distillation.

For a supernet, distillation only adds which configurations a step runs. A task holds networks and
optimizers and makes one step; the `Trainer` owns everything around it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.loader import Batch
from models.config import ChannelConfig
from models.discriminators import Discriminator
from models.generators import GeneratorSpec
from models.layers import ElasticConv2d, ElasticJoinedConv2d, init_weights
from models.winograd import with_winograd
from runtime import distributed
from runtime.cuda_graphs import CapturedStep, Recorder
from subnets.running import Run, subnet_of
from training.augmentation import Augmentation
from training.losses import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    layer_losses,
    make_reconstruction_loss,
)
from training.quantisation import Ranges

Generate = Callable[[Tensor], Tensor]


# --------------------------------------------------------------------------------------------------
# Shared


@dataclass(frozen=True)
class LossWeights:
    """How the losses are made and weighed."""

    gan_mode: str = "hinge"
    recon: str = "l1"
    gan: float = 1.0  # `lambda_gan`
    reconstruction: float = 100.0  # `lambda_recon`
    distill: float = 1.0  # `lambda_distill`


def make_adam(
    parameters: list[nn.Parameter], lr: float, beta1: float, beta2: float = 0.999
) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=lr, betas=(beta1, beta2), fused=True)


class Average:
    """A moving average of a network's weights, as a network of its own.

    Args:
        decay: per step; early steps move it faster, otherwise it would long remember the initial
               weights
    """

    def __init__(self, net: nn.Module, decay: float):
        self.source, self.decay = net, decay
        self.net = copy.deepcopy(net).requires_grad_(False)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the network, after ``step``; buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_([*self.net.parameters()], [*self.source.parameters()], 1 - decay)
        for average, value in zip(self.net.buffers(), self.source.buffers(), strict=True):
            average.copy_(value)


class Task:
    """Networks, their optimizers and one step.

    Attributes:
        networks:   name -> network, as checkpoints are called (G, D, A-0 ...)
        specs:      name -> GeneratorSpec, for the networks whose files carry one
        optimizers: of the generator (and adaptors), of the discriminator
        averages:   follow their networks after every step
        memory:     name -> what else a run needs to continue, see `training.state.state_of`
    """

    networks: dict[str, nn.Module]
    specs: dict[str, GeneratorSpec]
    optimizers: list[torch.optim.Optimizer]
    memory: Mapping[str, object] = {}
    averages: Sequence[Average] = ()

    def __init__(self, weights: LossWeights, device: torch.device, amp: str = "none"):
        """``amp``: none | bf16 | fp16 (with a gradient scaler); weights and losses stay float32."""
        self.weights, self.device, self.amp = weights, device, amp
        self.reconstruct = make_reconstruction_loss(weights.recon, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One update of every network; its losses as detached scalars, not waited for."""
        update = self._update_at(step)
        losses = update(batch.A, batch.B, *self._choices(step, len(batch)))
        distributed.average_buffers(self.networks.values())
        for average in self.averages:
            average.follow(step)
        return losses

    def _add_generators(
        self, nets: Mapping[str, nn.Module], specs: Mapping[str, GeneratorSpec], ema: float
    ) -> None:
        """Add them to the networks and specs. With ``ema``, the decay of a moving average, a name
        is that of the average, and with ``_raw`` of the network as the optimizer left it."""
        self.averages = [Average(net, ema) for net in nets.values()] if ema else []
        raw = {f"{name}_raw": net for name, net in nets.items()} if ema else {}
        shown = [average.net for average in self.averages] or nets.values()
        self.networks = dict(zip(nets, shown, strict=True)) | raw
        self.specs = dict(specs) | {f"{name}_raw": specs[name] for name in nets if ema}

    def update(self, a: Tensor, b: Tensor, *choices) -> dict[str, Tensor]:
        """Losses, gradients and the optimizers' steps for one batch, N C H W.

        Args:
            choices: what a supernet runs, one pass each; whatever else `_choices` gives
        """
        raise NotImplementedError

    def record(self, recorder: Recorder) -> None:
        """Run updates from recordings from now on."""
        self.update = CapturedStep(self.update, self.optimizers, recorder)

    def generators(self) -> dict[str, Generate]:
        """Label -> function A -> output, of all that an evaluation measures."""
        raise NotImplementedError

    @property
    def first(self) -> str:
        """The network that stands for all, where a file is looked for: a generator."""
        return next(iter(self.networks))

    def _update_at(self, step: int) -> Callable[..., dict[str, Tensor]]:
        """The kind of update that a step makes."""
        return self.update

    def _choices(self, step: int, images: int) -> list:
        """What is chosen for a step: of a supernet what it runs, one pass each."""
        return []

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.amp == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.amp != "none")

    def _add_gradients(
        self, loss: Tensor, optimizer: torch.optim.Optimizer, retain_graph: bool = False
    ) -> None:
        """Add the gradients of ``loss`` for the parameters of one optimizer alone."""
        self.scaler.scale(loss).backward(inputs=_parameters(optimizer), retain_graph=retain_graph)

    def _step(self, *optimizers: torch.optim.Optimizer) -> None:
        """Average the gradients over processes, update, and forget them."""
        for optimizer in optimizers:
            distributed.average_gradients(_parameters(optimizer))
        for optimizer in optimizers:
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in losses.items()}


# --------------------------------------------------------------------------------------------------
# Teachers


def generate(nets: Sequence[nn.Module], a: Tensor, taps: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The images of ``a`` by each of ``nets``; the taps of the first, none unless wanted."""
    first, *others = nets
    image, kept = first(a, taps=True) if taps else (first(a), [])
    return [image, *(net(a) for net in others)], kept


class TeacherTask(Task):
    """One generator or several that learn from pairs, each before a judge of its own.

    One alone is pix2pix: the discriminator steps first, the generator against the stepped
    discriminator. Of several, as in OMGD, nobody steps before all gradients are there.

    Args:
        nets_g: networks and losses of the second are called G2 ..., of the third G3 ...
        net_d:  with as many judges
        specs:  of each generator
        augment: of all that the discriminator sees
        ema:    decay per step of a moving average of every generator's weights, 0 = none. With one,
                ``G`` is the average, and ``G_raw`` the generator as the optimizer left it
    """

    def __init__(
        self,
        nets_g: Sequence[nn.Module],
        net_d: Discriminator,
        specs: Sequence[GeneratorSpec],
        weights: LossWeights,
        lr: float,
        beta1: float,
        device: torch.device,
        amp: str = "none",
        augment: Augmentation = Augmentation(),
        ema: float = 0.0,
    ):
        super().__init__(weights, device, amp)
        self.nets_g, self.net_d, self.judges = list(nets_g), net_d, net_d.judges()
        self.augment = augment
        self.tags = ["", *map(str, range(2, len(nets_g) + 1))]
        names = [f"G{tag}" for tag in self.tags]
        nets = dict(zip(names, nets_g, strict=True))
        self._add_generators(nets, dict(zip(names, specs, strict=True)), ema)
        self.networks["D"] = net_d
        trained = [p for net in nets_g for p in net.parameters()], [*net_d.parameters()]
        self.optimizers = [make_adam(parameters, lr, beta1) for parameters in trained]

    def update(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        return self.learn(a, b)[0]

    def learn(
        self, a: Tensor, b: Tensor, taps: bool = False
    ) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        """An update; its losses, every generator's images, and the first one's taps if wanted.

        Images and taps are of the generators before the update, detached.
        """
        (optimizer_g, optimizer_d), together = self.optimizers, len(self.nets_g) > 1
        with self._autocast():
            fakes, kept = generate(self.nets_g, a, taps)
            fake_pairs = [self._shown(a, fake) for fake in fakes]
            real_pair = self._shown(a, b)
            # Where the discriminator does not step in between, it sees a fake once: its own
            # gradient stops at its weights, the generator's passes through them.
            seen = fake_pairs if together else [pair.detach() for pair in fake_pairs]
            scores = [judge(pair) for judge, pair in zip(self.judges, seen, strict=True)]
            real_scores = self.net_d.scores(real_pair)
        losses, loss_d = self._losses_d(fake_pairs, real_pair, scores, real_scores)
        self._add_gradients(loss_d, optimizer_d, retain_graph=together)
        if not together:
            self._step(optimizer_d)
            with self._autocast():
                scores = [
                    judge(self._shown(a, fake))
                    for judge, fake in zip(self.judges, fakes, strict=True)
                ]
        losses_g, loss_g = self._losses_g(fakes, b, scores)
        self._add_gradients(loss_g, optimizer_g)
        self._step(*([optimizer_d, optimizer_g] if together else [optimizer_g]))
        self.scaler.update()
        images = [fake.detach() for fake in fakes]
        return detached(losses | losses_g), images, [tap.detach() for tap in kept]

    def _shown(self, a: Tensor, image: Tensor) -> Tensor:
        """What the discriminator sees of an image and its input."""
        return self.augment(torch.cat((a, image), 1), image.shape[1])

    def _losses_d(
        self,
        fake_pairs: list[Tensor],
        real_pair: Tensor,
        scores: list[Tensor],
        real_scores: list[Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """(losses by their names, what the discriminator minimises)."""
        mode, losses, total = self.weights.gan_mode, {}, 0
        for index, tag in enumerate(self.tags):
            fake, real = discriminator_loss(mode, scores[index], real_scores[index])
            losses |= {f"D{tag}_fake": fake, f"D{tag}_real": real}
            total = total + (fake + real) / 2
            if mode == "wgangp":
                judge, pair = self.judges[index], fake_pairs[index].float()
                losses[f"D{tag}_gp"] = gradient_penalty(judge, pair, real_pair)
                total = total + losses[f"D{tag}_gp"]
        return losses, total

    def _losses_g(
        self, fakes: list[Tensor], b: Tensor, scores: list[Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """(losses by their names, what the generators minimise, each its own part)."""
        w, losses, total = self.weights, {}, 0
        for tag, fake, score in zip(self.tags, fakes, scores, strict=True):
            gan = w.gan * generator_loss(w.gan_mode, score)
            recon = w.reconstruction * self.reconstruct(fake.float(), b)
            losses |= {f"G{tag}_gan": gan, f"G{tag}_recon": recon}
            total = total + (gan + recon)
        return losses, total

    def generators(self) -> dict[str, Generate]:
        raw = [name for name in self.specs if name.endswith("_raw")]
        return {name: self.networks[name] for name in self.specs if name not in raw}


# --------------------------------------------------------------------------------------------------
# Distillation, with or without a choice of configuration


def make_adaptors(
    student: GeneratorSpec, teacher: GeneratorSpec, init_type: str, gain: float
) -> list[nn.Module]:
    """One 1x1 convolution per tap from the student's channels there to the teacher's.

    Their inputs follow the student's configuration.
    """
    kinds = ElasticConv2d, ElasticJoinedConv2d
    return [
        init_weights(kinds[joined](*widths, 1), init_type, gain)
        for *widths, joined in tap_widths(student, teacher)
    ]


def tap_widths(student: GeneratorSpec, teacher: GeneratorSpec) -> list[tuple[int, int, bool]]:
    """(channels of the student, of the teacher, whether they are two halves side by side) of each
    of the activations that are compared."""
    both = (spec.kind.taps.widths(spec.config) for spec in (student, teacher))
    return list(zip(*both, student.kind.taps.joined, strict=True))


def as_batch(images: Sequence[Tensor], joined: bool) -> Tensor:
    """A tap of N images of any widths, each 1 C H W, as N C' H W: C' is that of the widest, and
    what another lacks is 0, as in the masked form of a supernet.

    Args:
        joined: it is two tensors of equal width side by side, which are filled up each
    """
    halves = zip(*(image.chunk(2 if joined else 1, 1) for image in images), strict=True)
    filled = []
    for half in halves:
        widest = max(image.shape[1] for image in half)
        rows = [F.pad(image, (0, 0, 0, 0, 0, widest - image.shape[1])) for image in half]
        filled.append(torch.cat(rows))
    return torch.cat(filled, 1)


# What a supernet runs in one pass: one configuration, or one for each image of the batch.
Choice = ChannelConfig | tuple[ChannelConfig, ...]


@dataclass(frozen=True)
class Subnets:
    """Which configurations a supernet is trained and evaluated at.

    Args:
        draw:     (step number, images in the batch) -> what that step runs, one pass each; their
                  losses are averaged
        measured: label -> configuration measured in evaluations
        run:      how a subnet is run in evaluations
    """

    draw: Callable[[int, int], list[Choice]]
    measured: dict[str, ChannelConfig]
    run: Run = subnet_of


class StudentTask(Task):
    """A student that learns from a teacher; perhaps a supernet, perhaps averaged.

    Args:
        adaptors: of the taps, see `make_adaptors`; they learn with the student. Without any, taps
                  are taken as they are
        subnets:  None for a student of fixed width, else the student is a supernet
        ema:      decay per step of a moving average of the student's weights; 0 = none. With one,
                  the network ``G`` that is measured and saved is the average, and ``G_raw`` the
                  student as the optimizer left it.
    """

    def __init__(
        self,
        student: nn.Module,
        spec: GeneratorSpec,
        adaptors: list[nn.Module],
        weights: LossWeights,
        device: torch.device,
        subnets: Subnets | None,
        amp: str,
        ema: float,
    ):
        super().__init__(weights, device, amp)
        self.student, self.adaptors, self.subnets = student, adaptors, subnets
        self._add_generators({"G": student}, {"G": spec}, ema)
        ranges = {name: Ranges(net) for name, net in self.networks.items()}
        # Files of networks do not hold them, see `training.quantisation`.
        self.memory = {"ranges": ranges} if ranges["G"].layers else {}
        self.shown = self.networks["G"]
        self.networks |= {f"A-{i}": a for i, a in enumerate(adaptors)}
        # Widths as tensors instead of configurations: all steps then have the same shapes.
        self.masked = False

    def record(self, recorder: Recorder) -> None:
        self.masked = True
        super().record(recorder)

    def generators(self) -> dict[str, Generate]:
        if self.subnets is None:
            return {"student": self.shown}
        return {
            label: self.subnets.run(self.shown, config)
            for label, config in self.subnets.measured.items()
        }

    def _trained(self) -> list[nn.Parameter]:
        """What the student's optimizer updates."""
        return [p for net in (self.student, *self.adaptors) for p in net.parameters()]

    def _choices(self, step: int, images: int) -> list:
        choices = [] if self.subnets is None else self.subnets.draw(step, images)
        return [self._widths(c) for c in choices] if self.masked else choices

    def _widths(self, choice: Choice) -> Tensor:
        """int64 (1 or N, 14): a choice as the masked form takes it."""
        configs = choice if isinstance(choice, tuple) else (choice,)
        return self.student.widths_of(configs).to(self.device)

    def _student(self, x: Tensor, choice: Choice | Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """(output, adapted taps) of the student, at a configuration if it is a supernet."""
        if isinstance(choice, tuple) and x.device.type == "cpu":
            # On a CPU the arithmetic counts: each image runs alone, at the width it needs
            # (benchmarks/train_step.py).
            parts = [
                self.student(image, config, taps=True)
                for image, config in zip(x.split(1), choice, strict=True)
            ]
            fakes, each = zip(*parts, strict=True)
            # What looks at the taps sees the batch, as on a GPU.
            joined = self.specs["G"].kind.taps.joined
            fake = torch.cat(fakes)
            taps = [as_batch(*tap) for tap in zip(zip(*each, strict=True), joined, strict=True)]
        else:
            if isinstance(choice, tuple):
                choice = self._widths(choice)
            chosen = () if choice is None else (choice,)
            fake, taps = self.student(x, *chosen, taps=True)
        if not self.adaptors:
            return fake, taps
        return fake, [adaptor(tap) for adaptor, tap in zip(self.adaptors, taps, strict=True)]


class Judge:
    """A student's discriminator, and what it sees.

    Called with the inputs and images, each N C H W; returns its scores.

    Args:
        paired:  it sees cat(input, image); otherwise the image alone
        augment: how these are changed before every look
    """

    def __init__(self, net_d: nn.Module, paired: bool, augment: Augmentation, amp: str):
        self.net_d, self.paired, self.augment = net_d, paired, augment
        # Low-precision kernels want channels last; in float32 that made a discriminator slower.
        self.layout = torch.contiguous_format if amp == "none" else torch.channels_last
        net_d.to(memory_format=self.layout)

    def __call__(self, a: Tensor, image: Tensor) -> Tensor:
        seen = self.augment(torch.cat((a, image), 1) if self.paired else image, image.shape[1])
        return self.net_d(seen.contiguous(memory_format=self.layout))

    @staticmethod
    def losses(
        mode: str, fake: Tensor, real: Tensor, passes: int, first: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(loss on fakes, loss on real images, what the discriminator minimises) of one pass.

        The real images count once in a step of several ``passes``: in the ``first``.
        """
        of_fake, of_real = discriminator_loss(mode, fake, real)
        return of_fake, of_real, (of_fake / passes + (of_real if first else 0)) / 2


class DistillTask(StudentTask):
    """Layerwise distillation from a frozen teacher.

    The gradients of D and G are both computed before either steps.

    Args:
        subnets, ema: see `StudentTask`
        paired:  True: reconstruct the real image, conditional discriminator; False (unpaired data):
                 reconstruct the teacher's output, the discriminator sees the output alone
        augment: of all that the discriminator sees
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        net_d: nn.Module,
        adaptors: list[nn.Module],
        spec: GeneratorSpec,
        weights: LossWeights,
        lr: float,
        beta1: float,
        device: torch.device,
        subnets: Subnets | None = None,
        paired: bool = True,
        amp: str = "none",
        ema: float = 0.0,
        augment: Augmentation = Augmentation(),
    ):
        super().__init__(student, spec, adaptors, weights, device, subnets, amp, ema)
        self.judge = Judge(net_d, paired, augment, amp)
        self.net_d, self.paired = net_d, paired
        self.networks["D"] = net_d
        teacher.eval().requires_grad_(False)
        self.teacher = with_winograd(teacher) if device.type == "cpu" and amp == "none" else teacher
        self.optimizers = [
            make_adam(self._trained(), lr, beta1),
            make_adam([*net_d.parameters()], lr, beta1),
        ]

    def update(self, a: Tensor, b: Tensor, *choices: Choice | Tensor) -> dict[str, Tensor]:
        w, (optimizer_g, optimizer_d) = self.weights, self.optimizers
        passes = choices or [None]
        with self._autocast():
            with torch.no_grad():
                if self.paired:
                    target, teacher_taps = b, self.teacher.tap(a)
                else:
                    target, teacher_taps = self.teacher(a, taps=True)
            score_real = self.judge(a, b)

        sums: dict[str, Tensor] = {}
        for index, choice in enumerate(passes):
            with self._autocast():
                fake, adapted = self._student(a, choice)
                # The discriminator sees a fake once: its own gradient stops at its weights, the
                # generator's passes through them.
                score_fake = self.judge(a, fake)
            d_fake, d_real, loss_d = self.judge.losses(
                w.gan_mode, score_fake, score_real, len(passes), index == 0
            )
            layers = layer_losses(adapted, teacher_taps)
            g_gan = w.gan * generator_loss(w.gan_mode, score_fake)
            g_recon = w.reconstruction * self.reconstruct(fake.float(), target.float())
            g_distill = w.distill * sum(layers)
            self._add_gradients(loss_d, optimizer_d, retain_graph=True)
            self._add_gradients((g_gan + g_recon + g_distill) / len(passes), optimizer_g)
            losses = dict(
                D_fake=d_fake, D_real=d_real, G_gan=g_gan, G_recon=g_recon, G_distill=g_distill
            )
            losses |= {f"G_distill{i}": value for i, value in enumerate(layers)}
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(passes)
        # Both gradients are there before either network steps.
        self._step(optimizer_d, optimizer_g)
        self.scaler.update()
        return sums
