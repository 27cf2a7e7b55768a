"""Time the Frechet distance: eigenvalues of a symmetric matrix against a matrix square root.

FID tools commonly take the matrix square root.
"""

from common import arguments, machine, report, seconds

import numpy as np
import scipy.linalg
import torch

from metrics.frechet import Statistics, frechet_distance
from runtime.progress import Bar


def reference(features: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    """FID by the formula of pytorch-fid, with scipy's sqrtm.

    Args:
        features:  (n, d) float64
        mu, sigma: mean (d,) and covariance (d, d) of the real features
    """
    fake_mu, fake_sigma = features.mean(0), np.cov(features, rowvar=False)
    root = scipy.linalg.sqrtm(fake_sigma @ sigma)
    root = root[0] if isinstance(root, tuple) else root
    return float(
        ((fake_mu - mu) ** 2).sum()
        + np.trace(fake_sigma)
        + np.trace(sigma)
        - 2 * np.trace(root.real)
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[300, 1000, 2048, 5000], metavar="N"
    )
    opt = parser.parse_args()
    facts = machine(opt.device) | {"dims": opt.dims}
    generator = torch.Generator().manual_seed(0)
    # Features with a decaying spectrum, as Inception's have.
    mix = (
        torch.randn(opt.dims, opt.dims, generator=generator, dtype=torch.float64)
        * torch.linspace(1, 0.01, opt.dims) ** 2
    )

    def draw(n: int) -> torch.Tensor:
        return (
            torch.randn(n, opt.dims, generator=generator, dtype=torch.float64) @ mix / opt.dims**0.5
            + 0.1
        )

    print(f"preparing real features of {opt.dims} dimensions", flush=True)
    real = Statistics.of_features(draw(3000)).to(opt.device)
    # Once per search, not per candidate.
    factor = seconds(lambda: real.factor, opt.device, repeats=1, warmup=0)
    rows = []
    bar = Bar(opt.counts, desc="Frechet distance", unit="size")
    for n in bar:
        bar.set_postfix_str(f"n={n}, this project")
        fake = draw(n) * 1.1
        ours = seconds(lambda fake=fake: frechet_distance(fake.to(opt.device), real), opt.device)
        bar.set_postfix_str(f"n={n}, matrix square root (slow)")
        numpy_side = fake.numpy(), real.mu.cpu().numpy(), real.sigma.cpu().numpy()
        expected = []
        plain = seconds(
            lambda side=numpy_side, to=expected: to.append(reference(*side)),
            "cpu",
            repeats=1,
            warmup=0,
        )
        found = frechet_distance(fake.to(opt.device), real)
        rows.append(
            {
                "n": n,
                "sqrtm [s]": plain,
                "ours [s]": ours,
                "ratio": plain / ours,
                "relative difference": abs(found / expected[0] - 1),
            }
        )
    report("Frechet distance", rows, facts | {"real factor, once [s]": round(factor, 3)}, opt.json)


if __name__ == "__main__":
    main()
