"""The statements under test, by name: what each claims, where its proof is, and which module checks it.

All of them are this toolkit's own statements for the architecture of TransFusion (arXiv 2403.18681); none is quoted
from the paper. The killed ones are earlier versions that turned out false: each is kept with the counterexample that
refuted it, because a search that cannot find it again is too weak to be trusted with the true ones.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """A statement.

    Attributes:
        name: how verdicts call it.
        title: what it says, in a few words.
        hypotheses, conclusion: what it says, in full.
        section: of theory.md, where the proof is.
        module: of this package, where bound and check are.
        numerical: what of its bound is computed and not enclosed (theory.md, 2h); empty where all of it is enclosed, or
            exact arithmetic.
    """

    name: str
    title: str
    hypotheses: str
    conclusion: str
    section: str
    module: str
    numerical: str = ""

    @property
    def headline(self) -> str:
        """The title, and what of the bound is numerical."""
        return f"{self.title} (numerical: {self.numerical})" if self.numerical else self.title


@dataclass(frozen=True)
class KilledStatement:
    """A false statement and what refutes it.

    Attributes:
        name: how the adversary calls it.
        claim: what it said.
        counterexample: the refutation recorded in theory.md, in words; tests/test_killed_statements.py has the numbers.
        mended_by: the true statement that took its place.
    """

    name: str
    claim: str
    counterexample: str
    mended_by: str


THEOREM_1 = Statement(
    "Theorem 1",
    "noise-free data are separated and fused at every block",
    "points in linearly independent subspaces; queries and keys W x with W = pinv([U_1 .. U_K]); for the rate "
    "within-cluster cosines above tau >= 0 and unit inputs",
    "no affinity between clusters at any depth, alpha_l never decreases, 1 - alpha_L falls at least at the rate "
    "prod rho_l^2",
    "1",
    "noise_free",
)
THEOREM_2A = Statement(
    "Theorem 2a",
    "clusters far enough apart stay apart at every depth",
    "alpha > 0 and beta+ < alpha nu_(1) nu_(2); tau in [beta+/(nu_(1) nu_(2)), alpha)",
    "affinity sharpness 1 at every layer, alpha_l never decreases, beta_l <= beta+/(nu_(1) nu_(2))",
    "2a",
    "persistence",
)
THEOREM_2B = Statement(
    "Theorem 2b",
    "below the noise ceiling batches are separated",
    "clean angles theta_w < theta_b; noise |e| <= eps below eps_sep, or Gaussian noise up to sigma_sep",
    "every batch (bounded), or one with probability >= 1 - delta (Gaussian), is separated; below the persistence "
    "ceiling it satisfies Theorem 2a as well",
    "2b",
    "noise_ceiling",
)
THEOREM_2C = Statement(
    "Theorem 2c",
    "from the batch floor on, one block recovers clusters that fill their subspaces",
    "points uniform on the unit spheres of r-dimensional subspaces; noise and threshold leave a connection radius "
    "vartheta > 0; every cluster has m_floor(r, vartheta, delta/K) points (Gaussian noise: delta/(4K))",
    "no false edge and every cluster connected with probability >= 1 - delta",
    "2c",
    "batch_floor",
    "two-step descent for r >= 3, within .4 %",
)
DENOISING = Statement(
    "Theorem 2c (denoising)",
    "fused points carry at most eta of the noise",
    "Gaussian noise, unit clean points, tokens not normalized, Theorem 2a's hypotheses",
    "with probability >= 1 - delta every fused point's noise is at most eta, its angle to its clean cluster's cone at "
    "most arcsin(eta/nu_clean)",
    "2c",
    "denoising",
    "tails of the noise",
)
THEOREM_3 = Statement(
    "Theorem 3",
    "softmax attention keeps its mass for a certified depth, then falls to chance",
    "(a) any batch; (b) tokens normalized at every block, alpha >= the smallest cross cosine; (c) unit inputs, all "
    "cosines positive",
    "(a) in-cluster mass at least 1/(1 + ((n - n_k)/n_k) e^{-kappa (alpha - beta)}); (b) alpha > beta for the "
    "certified depth; (c) the spread of all cosines and the mass above chance fall at least geometrically",
    "3",
    "softmax_fusion",
)
THEOREM_4 = Statement(
    "Theorem 4",
    "the affinity loss certifies affinity sharpness",
    "rows of Y sum to 1 or are empty; the loss is the mean JSD to the target affinity",
    "mean sharpness at least binary^-1(loss), each row's at least binary^-1 of its own divergence",
    "4",
    "loss_certificate",
)
BLOCK_MODEL = Statement(
    "Block model",
    "equiangular clusters stay equiangular, and three eigenvalues tell everything",
    "equal equiangular clusters; ReLU attention of any power and threshold, or softmax attention",
    "cosines and affinity sharpness of every layer are the model's, exactly",
    "5",
    "block_model",
)
PROPOSITION_5 = Statement(
    "Proposition 5",
    "when a block sharpens equiangular clusters",
    "equal equiangular clusters, affinity ReLU(C - tau)^p, p > 0, 0 <= tau < b < w < 1",
    "affinity sharpness rises through the block if and only if the sharpening margin is positive; with p <= 1 it never "
    "does",
    "5",
    "block_model",
)
THEOREM_2A_RESTART = Statement(
    "Theorem 2a'",
    "from one layer's tokens on, a batch is recovered at every depth",
    "tokens of one layer, of any norm: alpha > tau and beta+ <= tau nu_(1) nu_(2) or <= tau h_(1) h_(2); or "
    "tau N+ < I and max(I_c, 0) <= tau (I + (N- - I)/M), I = min(I_w, N-)",
    "no false edge and complete clusters at this layer and at every later one, whatever the layers before were",
    "2f",
    "restart",
)
THEOREM_2F = Statement(
    "Theorem 2f",
    "at the fusion ceiling one block repairs what noise broke",
    "Gaussian noise at the fusion ceiling, clusters in orthogonal subspaces with within cosines >= a > 0, "
    "tau = beta(sigma) of Theorem 2b, tokens never normalized",
    "with probability >= 1 - delta every layer from 1 on is recovered, whether or not the noisy batch was separated",
    "2f",
    "fusion_ceiling",
    "the row bound and the tokens' cross tail",
)
THEOREM_2E = Statement(
    "Theorem 2e",
    "at a high enough threshold no layer has a false edge, whatever the noise",
    "points in subspaces under Gaussian noise of any level (or any that rotations of a subspace's complement leave "
    "alone), no query/key map, tau >= tau_L(D, r, N, L, delta)",
    "with probability >= 1 - delta no layer 0..L has a false edge: every row that has a neighbour has affinity "
    "sharpness exactly 1, at every depth",
    "2e",
    "depth_threshold",
)
THEOREM_2G = Statement(
    "Theorem 2g",
    "the batch floor under noise that takes some edges away and leaves enough",
    "points uniform on the unit spheres of r-dimensional subspaces, Gaussian noise, tau = beta(sigma); the two-sided "
    "bounds of all clusters add up to at most delta/2",
    "one block has no false edge and every cluster is connected with probability >= 1 - delta",
    "2g",
    "soft_floor",
    "the sums over the soft graph, within 1 %",
)
PROPOSITION_6 = Statement(
    "Proposition 6",
    "what one block does to a random batch of given rows, from two sides",
    "N rows with labels, nonnegative weights of cosines, batches drawn at random without replacement",
    "max(in-, 1 - empty - out+) <= E S_i <= min(in+, 1 - empty - out-) for every row; equal at n = 2, 3, N (n = 2, N "
    "where rows attend to themselves), never further apart than 1/(1 + expected effective neighbours)",
    "6",
    "batch_law",
)
PROPOSITION_7 = Statement(
    "Proposition 7",
    "the smallest batch in which few rows lack true neighbours",
    "N rows with labels, a threshold, batches drawn at random without replacement",
    "the expected share of rows with fewer than k true neighbours is the mean of hypergeometric distribution "
    "functions of the hits, and never rises with the batch size",
    "6",
    "neighbour_floor",
)
PROPOSITION_8 = Statement(
    "Proposition 8",
    "from given rows to new ones",
    "m independent values in [0, 1] of new rows; or the mean of a value in [0, 1] over all batches of n of N rows "
    "that are independent and alike in law",
    "with probability >= 1 - delta the expected value is at least the kl bound of m values, or of floor(N/n)",
    "6",
    "certified_mean",
)
PROPOSITION_9 = Statement(
    "Proposition 9",
    "choosing among candidates without losing the guarantee",
    "candidates in an order fixed before the data, each with a bound of level delta; those before the first miss are "
    "accepted",
    "with probability >= 1 - delta every accepted candidate reaches its target",
    "6",
    "certified_mean",
)
STATEMENTS = {
    statement.name: statement
    for statement in (
        THEOREM_1, THEOREM_2A, THEOREM_2B, THEOREM_2C, DENOISING, THEOREM_2E, THEOREM_2A_RESTART, THEOREM_2F,
        THEOREM_2G, THEOREM_3, THEOREM_4, BLOCK_MODEL, PROPOSITION_5, PROPOSITION_6, PROPOSITION_7, PROPOSITION_8,
        PROPOSITION_9,
    )
}  # fmt: skip

SMALLEST_CLUSTER = KilledStatement(
    "1b with the smallest cluster",
    "Theorem 1b's rate holds with the size of the smallest cluster in place of the largest",
    "sizes (20, 2), equiangular .9, tau 0, lambda .5: spread 1.25e-3 after 3 blocks against a bound of 2e-11",
    THEOREM_1.name,
)
THRESHOLD_AT_B = KilledStatement(
    "equiangular with b <= tau",
    "equiangular clusters follow the closed form for every threshold b <= tau < a",
    "K = 3, m = 6, a = .6, b = .35, tau = .40 leaks at layer 2",
    THEOREM_1.name,
)
ALPHA_OF_ANY_SIGN = KilledStatement(
    "2a without alpha > 0",
    "beta+ < alpha nu^2 alone gives a threshold that keeps every cluster connected",
    "clusters {e1, -e1} and {e2, e2, e2}: alpha = -1, nu^2 = -1/3, beta = 0",
    THEOREM_2A.name,
)
ONE_TERM_CEILING = KilledStatement(
    "2b's threshold without its second term",
    "noise with phi < (theta_b - theta_w)/4 always leaves a threshold in [0, 1) that separates",
    "theta_w = 60 degrees, theta_b = 150 degrees, phi = 20 degrees: alpha(eps) < 0",
    THEOREM_2B.name,
)
ENDLESS_FLOOR = KilledStatement(
    "denoising floor without an end",
    "from some m on clusters of every size m' >= m are denoised to within a target angle, at a finite depth with "
    "lambda < 1",
    "lambda = .5, L = 4, D = 256, sigma = .5: a share (1 - lambda)^L of every point's own noise stays, and the largest "
    "of n of them grows like sqrt(2 ln n/D)",
    DENOISING.name,
)
SOFTMAX_KEEPS = KilledStatement(
    "softmax keeps its mass under 2a",
    "on data that satisfy Theorem 2a the in-cluster mass of softmax attention never falls below its first value",
    "two clusters of two equal points each, cross cosine .5, kappa = 1: the mass falls from the first block on",
    THEOREM_3.name,
)
EMPTY_ROW_HALF = KilledStatement(
    "an empty row counts ln 2/2",
    "the certificate holds with the formula's own value, ln 2/2, for rows without mass",
    "all rows empty: sharpness 0, certified .294",
    THEOREM_4.name,
)
ALWAYS_SHARPENS = KilledStatement(
    "every block sharpens",
    "a plain cosine ReLU block with identity weights never lowers the affinity sharpness",
    "any equiangular batch with 0 < b < w < 1",
    PROPOSITION_5.name,
)
SQUARED_SHARPENS = KilledStatement(
    "every squared block sharpens",
    "a squared cosine ReLU block with identity weights never lowers the affinity sharpness",
    "K = 4, m = 16, lambda = .5, w = .7, b = .01: 1 - s = 6.53e-4, 6.46e-4, 6.61e-4",
    PROPOSITION_5.name,
)
ANY_NOISE = KilledStatement(
    "2e for any noise",
    "at tau_L no layer has a false edge under any noise of the size that Gaussian noise would have",
    "all points pushed along one common direction by sigma = 3: cross cosines of orthogonal subspaces are all .9",
    THEOREM_2E.name,
)
ISOLATED_POINTS = KilledStatement(
    "isolated points are all there is to fear",
    "a cluster falls apart with probability at most m E (1 - Q)^{m-1}, the expected number of points without an edge",
    "the circle, no noise, radius .5, 30 points: .197 by that count, .887 fall apart",
    THEOREM_2G.name,
)
WITHIN_PRODUCT = KilledStatement(
    "2a' with the smallest within product",
    "tau N+ < I_w and max(I_c, 0) <= tau (I_w + (N- - I_w)/M) keep a batch recovered, whatever the norms are",
    "tau = .5, y = (1, 1.1) times directions 3.5 degrees apart in each of two clusters, first cross cosine .52: I_w "
    "is above N-, and the two short tokens share an edge",
    THEOREM_2A_RESTART.name,
)
SELF_AT_THREE = KilledStatement(
    "n = 3 with self-attention",
    "Proposition 6's two sides meet at n = 3 also where rows attend to themselves",
    "four rows, own-class weight .5, others 1 and 0, self 1: .7000 and .7037 (two draws beside i)",
    PROPOSITION_6.name,
)
POOL_SHARE = KilledStatement(
    "a batch has the pool's share",
    "the expected in-class share of a row's weight in a batch is its share in the pool, times P(not empty)",
    "four rows, own-class weight .1, others 1 and 1, n = 2: a third of the batches have share 1, the pool has .048",
    PROPOSITION_6.name,
)
MEAN_HITS = KilledStatement(
    "the floor from the mean hits is too small",
    "for every k the batch floor computed from the mean number of hits is at most the true one",
    "three equal points and three orthogonal ones: hits 2, 2, 2, 0, 0, 0, n*(2, .75) = 5, and none from the mean, 1",
    PROPOSITION_7.name,
)
KILLED = (
    SMALLEST_CLUSTER, THRESHOLD_AT_B, ALPHA_OF_ANY_SIGN, ONE_TERM_CEILING, ENDLESS_FLOOR, SOFTMAX_KEEPS, EMPTY_ROW_HALF,
    ALWAYS_SHARPENS, SQUARED_SHARPENS, ANY_NOISE, ISOLATED_POINTS, WITHIN_PRODUCT, SELF_AT_THREE,
    POOL_SHARE, MEAN_HITS,
)  # fmt: skip
