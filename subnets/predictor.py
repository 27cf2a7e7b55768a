"""A learned stand-in for the evaluator (``predictor``): it decides which candidates are measured.

A Gaussian process over the eight genes: a handful of evaluations are enough to fit it, and it knows
how uncertain it is. Predicted values are never recorded as results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import isfinite

import numpy as np
import torch
from scipy.stats import norm, spearmanr
from torch import Tensor

from models.config import ChannelConfig
from subnets.genetic import Candidate, GeneticSearch, GeneticSettings
from subnets.objectives import ByScore
from subnets.space import SearchSpace

# Candidates screened for each one measured, and per generation at least.
POOL = 20
MIN_POOL = 1000
# Share of the measured that is drawn at random, so that not only the model's favourites test it.
EXPLORE = 0.1


# --------------------------------------------------------------------------------------------------
# The model


class GaussianProcess:
    """Regression of (n,) values on (n, k) inputs in 0..1, n at least 1.

    The kernel is a linear trend, a squared exponential with one length per input, and noise. The
    hyperparameters maximise the marginal likelihood (Rasmussen & Williams 2006, eq. 5.8) under a
    weak prior, which keeps them reasonable for small n.
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
        """Add the prediction at ``x``, (k,), as if it were measured (Ginsbourger et al. 2010).

        The next choice then looks elsewhere.
        """
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
        # Logarithms of the lengths, the signal, the linear trend and the noise.
        prior = torch.tensor([0.0] * k + [-0.7, 0.0, -3.0], dtype=torch.float64)
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
        """(n,) predictions of each point from the others (Rasmussen & Williams 2006, eq. 5.12)."""
        inverse = torch.cholesky_inverse(self.factor)
        return (self.y - self.weights / inverse.diagonal()).numpy() * self.scale + self.mean


# --------------------------------------------------------------------------------------------------
# The search


class PredictedSearch(GeneticSearch):
    """A genetic search that breeds many children and proposes only the most promising.

    Those are the children with the highest expected improvement, and a few drawn at random.

    Args:
        share:  share of the population that is proposed, and so measured, in each generation
        score:  measured quality of a configuration, lower is better; infinite if it has none
        on_fit: called in each generation with a dictionary: ``generation``; ``evaluated``, the
                number of measurements fitted; ``spearman_left_out``, the rank correlation of
                measurements with leave-one-out predictions; and, for three or more,
                ``spearman_unseen``, the same for the last generation, predicted before it was
                measured. A correlation that is not defined is None
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
        self.per_generation = max(4, round(share * settings.population_size))
        # Of earlier generations, those with a finite score.
        self.measured: list[ChannelConfig] = []
        self.model: GaussianProcess | None = None
        # For the last generation, before it was measured.
        self.predicted: dict[ChannelConfig, float] = {}

    @property
    def needed(self) -> Collection[ChannelConfig]:
        # The model is fitted to all of them.
        return self.known

    def propose(self) -> list[Candidate]:
        if self.generation >= 0:
            self._learn()
        return super().propose()

    def _learn(self) -> None:
        """Fit the model to all measurements with a finite score and report how well it ranks."""
        scores = {c: self.score(c) for c in sorted(self.known, key=lambda c: c.genes)}
        scores = {c: score for c, score in scores.items() if isfinite(score)}
        self.measured = list(scores)
        if not scores:
            return
        y = np.array(list(scores.values()))
        self.model = GaussianProcess(self._inputs(self.measured), y)
        facts = {
            "generation": self.generation,
            "evaluated": len(y),
            "spearman_left_out": _spearman(self.model.left_out(), y),
        }
        pairs = [(guess, scores[c]) for c, guess in self.predicted.items() if c in scores]
        if len(pairs) > 2:
            facts["spearman_unseen"] = _spearman(*np.array(pairs).T)
        self.on_fit(facts)

    def _inputs(self, configs: list[ChannelConfig]) -> np.ndarray:
        """(n, 8) genes scaled to 0..1; genes with one choice are 0."""
        low = np.array([min(c) for c in self.space.choices])
        high = np.array([max(c) for c in self.space.choices])
        return (np.array([c.genes for c in configs]) - low) / np.maximum(high - low, 1)

    def _first(self, rng: np.random.Generator) -> list[Candidate]:
        return self._random(rng, self.per_generation)

    def _next(self, rng: np.random.Generator, parents: list[ChannelConfig]) -> list[Candidate]:
        size = max(POOL * self.per_generation, MIN_POOL) // 2
        fresh = [c for c in self._random(rng, size) if c.config not in self.known]
        pool = {c.config: c for c in [*fresh, *self._breed(rng, parents, size)]}
        candidates = list(pool.values())
        if not candidates or self.model is None:
            return candidates[: self.per_generation]
        inputs = self._inputs([c.config for c in candidates])
        expected, _ = self.model.predict(inputs)
        best = min(self.score(c) for c in self.measured)
        chance = round(EXPLORE * self.per_generation)
        chosen: list[int] = []
        for _ in range(min(self.per_generation - chance, len(candidates))):
            mean, deviation = self.model.predict(inputs)
            z = (best - mean) / deviation
            # Expected improvement (Jones et al. 1998).
            gain = (best - mean) * norm.cdf(z) + deviation * norm.pdf(z)
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
