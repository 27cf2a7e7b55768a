"""A learned stand-in for the evaluator (``predictor``): it screens many candidates so that only promising ones are measured.

A Gaussian process over the eight genes: a handful of evaluations are enough to fit it, and it knows where it does not know. A predicted
value decides only what is measured next; it is never recorded as a result.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import norm, spearmanr
from torch import Tensor

from models.config import ChannelConfig
from subnets.genetic import Candidate, GeneticSearch, GeneticSettings
from subnets.objectives import ByScore
from subnets.space import SearchSpace

POOL = 20  # candidates screened for each one measured, and at least
MIN_POOL = 1000
EXPLORE = 0.1  # share of the measured that are drawn at random, so that the model is tested on more than its favourites


# --------------------------------------------------------------------------------------------------
# The model


class GaussianProcess:
    """Regression of (n, k) inputs in 0..1 on (n,) values: linear trend + squared exponential with a length per input + noise.

    Hyperparameters maximise the marginal likelihood (Rasmussen & Williams 2006, eq. 5.8) with a weak prior that keeps them sane
    for small n.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray):
        self.x = torch.as_tensor(x, dtype=torch.float64)
        self.mean, self.scale = float(y.mean()), float(y.std()) or 1.0
        self.y = torch.as_tensor((y - self.mean) / self.scale, dtype=torch.float64)
        self._fit()

    def _condition(self) -> None:
        """What predictions need, from the points and the hyperparameters."""
        self.factor = self._factor()
        self.weights = torch.cholesky_solve(self.y[:, None], self.factor)[:, 0]

    @torch.no_grad()
    def believe(self, x: np.ndarray) -> None:
        """Take what is predicted at (k,) for measured, so that the next choice looks elsewhere (Ginsbourger et al. 2010)."""
        value = torch.as_tensor((self.predict(x[None])[0] - self.mean) / self.scale)
        self.x, self.y = torch.cat((self.x, torch.as_tensor(x[None]))), torch.cat((self.y, value))
        self._condition()

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        lengths, signal, linear = self.theta[:-3].exp(), self.theta[-3].exp(), self.theta[-2].exp()
        smooth = signal * torch.exp(-0.5 * torch.cdist(a / lengths, b / lengths).square())
        return smooth + linear * ((a - 0.5) @ (b - 0.5).T)

    def _factor(self) -> Tensor:
        noise = self.theta[-1].exp() + 1e-6
        return torch.linalg.cholesky(
            self._kernel(self.x, self.x) + noise * torch.eye(len(self.x), dtype=torch.float64)
        )

    def _fit(self) -> None:
        k = self.x.shape[1]
        prior = torch.tensor(
            [0.0] * k + [-0.7, 0.0, -3.0], dtype=torch.float64
        )  # log: lengths, signal, linear, noise
        self.theta = prior.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS([self.theta], max_iter=60, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            factor = self._factor()
            weights = torch.cholesky_solve(self.y[:, None], factor)[:, 0]
            value = (
                0.5 * self.y @ weights
                + factor.diagonal().log().sum()
                + 0.5 * (self.theta - prior).square().sum()
            )
            value.backward()
            return value

        try:
            optimizer.step(loss)
        except torch.linalg.LinAlgError:
            self.theta = prior
        if not torch.isfinite(self.theta).all():
            self.theta = prior
        with torch.no_grad():
            self.theta = self.theta.detach()
            self._condition()

    @torch.no_grad()
    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(mean, standard deviation) at (m, k) inputs."""
        x = torch.as_tensor(x, dtype=torch.float64)
        across = self._kernel(x, self.x)
        mean = across @ self.weights
        solved = torch.linalg.solve_triangular(self.factor, across.T, upper=False)
        own = self.theta[-3].exp() + self.theta[-2].exp() * (x - 0.5).square().sum(1)
        deviation = (own - solved.square().sum(0)).clamp_min(1e-12).sqrt()
        return mean.numpy() * self.scale + self.mean, deviation.numpy() * self.scale

    @torch.no_grad()
    def left_out(self) -> np.ndarray:
        """What it predicts of each known point without it (Rasmussen & Williams 2006, eq. 5.12)."""
        inverse = torch.cholesky_inverse(self.factor)
        return (self.y - self.weights / inverse.diagonal()).numpy() * self.scale + self.mean


# --------------------------------------------------------------------------------------------------
# The search


class PredictedSearch(GeneticSearch):
    """A genetic search that breeds many children and proposes the ones with the highest expected improvement.

    Args:
        share:  of the population that is proposed, and so measured, per generation
        score:  measured quality of a configuration, lower is better
        on_fit: called each generation with how well the model ranks, see `propose`
    """

    def __init__(
        self,
        space: SearchSpace,
        budget: float,
        settings: GeneticSettings,
        rank: ByScore,
        score: Callable[[ChannelConfig], float],
        share: float = 0.2,
        on_fit: Callable[[dict], None] = lambda facts: None,
    ):
        super().__init__(space, budget, settings, rank)
        self.score, self.on_fit = score, on_fit
        self.count = max(4, round(share * settings.population_size))
        self.measured: list[ChannelConfig] = []  # proposed in earlier generations
        self.predicted: dict[
            ChannelConfig, float
        ] = {}  # for the last generation, before it was measured

    def propose(self) -> list[Candidate]:
        if self.generation >= 0:
            self._learn()
        return super().propose()

    def _learn(self) -> None:
        """Fit the model to all measurements and report its rank correlation: on the last generation as predicted before it was measured,
        and on every point left out in turn."""
        self.measured = sorted(self.known, key=lambda c: c.genes)
        y = np.array([self.score(c) for c in self.measured])
        self.model = GaussianProcess(self._inputs(self.measured), y)
        facts = {
            "generation": self.generation,
            "evaluated": len(y),
            "spearman_left_out": _spearman(self.model.left_out(), y),
        }
        if len(self.predicted) > 2:
            guess, truth = zip(
                *((value, self.score(c)) for c, value in self.predicted.items()), strict=True
            )
            facts["spearman_unseen"] = _spearman(np.array(guess), np.array(truth))
        self.on_fit(facts)

    def _inputs(self, configs: list[ChannelConfig]) -> np.ndarray:
        """(n, 8) genes scaled to 0..1; genes with one choice are 0."""
        low = np.array([min(c) for c in self.space.choices])
        high = np.array([max(c) for c in self.space.choices])
        return (np.array([c.genes for c in configs]) - low) / np.maximum(high - low, 1)

    def _first(self, rng: np.random.Generator) -> list[Candidate]:
        return self._random(rng, self.count)

    def _next(self, rng: np.random.Generator, parents: list[ChannelConfig]) -> list[Candidate]:
        size = max(POOL * self.count, MIN_POOL) // 2
        fresh = [c for c in self._random(rng, size) if c.config not in self.known]
        pool = {c.config: c for c in [*fresh, *self._breed(rng, parents, size)]}
        candidates = list(pool.values())
        if not candidates:
            return []
        inputs = self._inputs([c.config for c in candidates])
        expected, _ = self.model.predict(inputs)
        best = min(self.score(c) for c in self.measured)
        chance = round(EXPLORE * self.count)
        chosen: list[int] = []
        for _ in range(min(self.count - chance, len(candidates))):
            mean, deviation = self.model.predict(inputs)
            z = (best - mean) / deviation
            gain = (best - mean) * norm.cdf(z) + deviation * norm.pdf(
                z
            )  # expected improvement (Jones et al. 1998)
            gain[chosen] = -np.inf
            chosen.append(int(gain.argmax()))
            self.model.believe(inputs[chosen[-1]])
        rest = np.setdiff1d(np.arange(len(candidates)), chosen)
        chosen += [int(i) for i in rng.choice(rest, min(chance, len(rest)), replace=False)]
        self.predicted = {candidates[i].config: float(expected[i]) for i in chosen}
        return [candidates[i] for i in chosen]


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    value = spearmanr(a, b).statistic if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan
    return None if np.isnan(value) else round(float(value), 4)
