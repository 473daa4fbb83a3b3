"""Arms: a tier is a pattern for trainings of all methods and heads; each training has the settings that it reads."""

from dataclasses import replace

import pytest

from models.cifar.methods.settings import DeepFusion, MoCo, MoCoFeatureTransform, SimCLR, SupCon, method_of
from models.cifar.training.checks import idle_settings
from paper_checks.papers import deep_fusion, feature_transform, limits, momenta, simclr, transfusion_training
from paper_checks.tasks import unique
from paper_checks.tiers import CPU, GPU, QUICK
from paper_checks.trainings import moco_ways as ways
from paper_checks.trainings.arms import MOCO, SIMCLR, Arm, changed

FAMILIES = (transfusion_training, deep_fusion, simclr, feature_transform, momenta, limits)


def first(arm, tier):
    return arm.trainings(tier)[0].config


def test_another_method_starts_from_its_own_defaults_and_keeps_the_temperature_of_a_shared_loss():
    warm = changed(QUICK.config, {"method.temperature": 0.1})
    assert changed(warm, {"method.name": "deepfusion"}).method == DeepFusion(temperature=0.1)
    assert changed(warm, {"method.name": "deepfusion", "method.temperature": 2.0}).method == DeepFusion(temperature=2.0)
    assert changed(warm, {"method.name": "supcon"}).method == SupCon(), "which was published with another"
    assert warm.method == SimCLR(temperature=0.1)
    assert changed(warm, {"method.name": "moco"}).method == MoCo()
    assert changed(warm, {"method.name": "simclr", "method.normalize": False}).method == SimCLR(
        temperature=0.1, normalize=False
    )
    assert changed(warm, {"method.name": "moco_ft", "method.union": True}).method == MoCoFeatureTransform(union=True)
    with pytest.raises(ValueError, match=r"^queue_size: is no setting of supcon"):
        changed(warm, {"method.name": "supcon", "method.queue_size": 9})
    with pytest.raises(ValueError, match=r"^queue_size: no such setting"):
        changed(warm, {"method.queue_size": 9})


def test_arms_are_what_differs():
    assert SIMCLR.label(QUICK) == "base"
    assert MOCO.with_(method__momentum=0.5).label(QUICK) == "moco,momentum=0.5"
    assert SIMCLR.with_(epochs=QUICK.config.epochs).trainings(QUICK) == SIMCLR.trainings(QUICK)
    assert [task.config.seed for task in MOCO.trainings(QUICK)] == list(range(QUICK.seeds))
    assert changed(QUICK.config, {"view.crop": False, "epochs": 3}).view.crop is False
    for wrong in ({"color": 1}, {"view.colour": 1}, {"epochs.crop": 1}):
        with pytest.raises(ValueError, match=r"no such setting|no group"):
            changed(QUICK.config, wrong)
    with pytest.raises(ValueError, match=r"^momentum:"):
        Arm((("method.momentum", 2.0),)).trainings(QUICK)


def test_labels_name_the_method_and_what_differs_from_its_defaults():
    assert MOCO.label(QUICK) == "moco"
    assert MOCO.with_(method__momentum=0.5, epochs=3).label(QUICK) == "moco,momentum=0.5,epochs=3"
    # MoCo's own default.
    assert MOCO.with_(method__temperature=0.2).label(QUICK) == "moco"
    assert MOCO.with_(method__temperature=0.5).label(QUICK) == "moco,temperature=0.5"


def test_sizes_that_an_arms_head_does_not_read_make_no_other_training():
    assert GPU.config.head.width == 512
    assert first(SIMCLR, GPU).head.width == 64
    assert first(Arm((("method.name", "transfusion"),)), GPU).head.width == 512
    assert first(SIMCLR.with_(head__num_heads=2), GPU) == first(SIMCLR, GPU)
    assert SIMCLR.trainings(GPU)[0].transformations
    assert not MOCO.trainings(GPU)[0].transformations


@pytest.mark.parametrize("tier", [QUICK, CPU, GPU], ids=lambda tier: tier.name)
def test_no_training_of_any_claim_has_a_setting_that_nothing_reads(tier):
    claims = [claim for family in FAMILIES for claim in family.CLAIMS]
    claims += [claim.read_as(reading) for claim in claims for reading in claim.readings]
    # Names of tasks are those of folders: another training of the same name would be refused.
    trainings = unique(task for claim in claims for task in claim.tasks(tier.at(1)) if hasattr(task, "config"))
    assert len(trainings) > 100
    assert not [task.name for task in trainings if idle_settings(task.config)]


@pytest.mark.parametrize("tier", [QUICK, CPU, GPU], ids=lambda tier: tier.name)
def test_arms_differ_in_nothing_but_what_the_claim_is_about(tier):
    """A tier's temperature need not be the methods' default: NT-Xent has one temperature whatever is behind it."""
    of_head = {arm: first(arm, tier) for arm in deep_fusion._heads(tier).values()}
    of_head |= {arm: first(arm, tier) for arm in (deep_fusion.JOINT, *transfusion_training.REST_OF_HEADS.values())}
    base = first(SIMCLR, tier)
    for config in of_head.values():
        assert (config.method.temperature, config.method.normalize) == (base.method.temperature, True)
        assert replace(config, head=base.head, method=base.method) == base
    factors = deep_fusion._factors(tier)
    for factor, arms in factors.items():
        temperatures = {first(arm, tier).method.temperature for arm in arms.values()}
        assert temperatures == (set(arms) if factor == "temperature" else {base.method.temperature})
    for grid, normalize in ((simclr.NORMALIZED, True), (simclr.INNER_PRODUCTS, False)):
        for temperature, arm in grid.items():
            method = SimCLR(temperature=temperature, normalize=normalize)
            assert first(arm, tier) == replace(base, method=method)
    followed = [first(arm, tier) for arm in ways.MAIN.momenta(tier).values()]
    assert {config.measure_every for config in followed} == {1}
    assert {config.epochs for config in followed} == {max(8, tier.config.epochs)}, "six after the second epoch"


def test_what_the_claims_compare_is_what_their_words_say():
    """F2 to F6, S3 and T9 by the settings that their arms differ in."""
    main, queue = ways.MAIN, {"queue_size": QUICK.small_queue}
    transformed = {name: first(arm, QUICK).method for name, arm in main.choices(QUICK).items()}
    assert transformed == {
        "neither": method_of("moco", **queue),
        "positives": method_of("moco_ft", negatives="none", **queue),
        "negatives": method_of("moco_ft", positives="none", **queue),
        "both": method_of("moco_ft", **queue),
    }
    interpolated = feature_transform._extrapolation(QUICK, main)["interpolated"]
    assert first(interpolated, QUICK).method == method_of("moco_ft", positives="interpolate", negatives="none", **queue)
    for given, arm in main.positive_betas(QUICK).items():
        assert first(arm, QUICK).method == method_of("moco_ft", negatives="none", positive_beta=given, **queue)
    for given, arm in main.negative_betas(QUICK).items():
        assert first(arm, QUICK).method == method_of("moco_ft", positives="none", negative_beta=given, **queue)
    assert set(feature_transform._queues(QUICK)) == {"original", "transformed"}, "what is shown alone is not trained"
    queues = feature_transform._queues(replace(QUICK, shown_arms=True))
    assert {name: {first(arm, QUICK).method.queue_size for arm in arms.values()} for name, arms in queues.items()} == {
        name: {QUICK.small_queue, None} for name in ("original", "transformed", "union")
    }
    assert all(first(arm, QUICK).method.union for arm in queues["union"].values())
    starts = [first(arm, QUICK).method for arm in feature_transform._starts(QUICK).values()]
    assert starts == [
        method_of("moco_ft", **queue), method_of("moco_ft", transform_from_epoch=5, **queue), method_of("moco", **queue)
    ]  # fmt: skip
    inner = [first(arm, QUICK).method for arm in simclr.INNER_PRODUCTS.values()]
    assert inner == [SimCLR(temperature=t, normalize=False) for t in (0.5, 1.0, 10.0)]
    assert [first(arm, QUICK).method for arm in simclr.NORMALIZED.values()] == [
        SimCLR(temperature=t) for t in (0.1, 0.5, 1.0)
    ]
    for name, arm in transfusion_training.SUPERVISIONS.items():
        options = {"supervised": name == "labels"}
        assert first(arm, QUICK).method == method_of("transfusion", **options)
        assert first(transfusion_training._without(arm), QUICK).method == method_of(
            "transfusion", intermediate=0.0, **options
        )


def test_what_the_readings_compare_is_what_their_words_say():
    """Feature transformation, TransFusion and Deep Fusion, by the settings that arms have and those of the main reading
    have not."""
    queue = {"queue_size": QUICK.small_queue}
    slow, step = {"momentum": 0.999}, {"weights": "step"}
    told = {
        ways.AUTHORS: {**slow, **step, "negatives_query": "transformed"},
        ways.QUERY: {"negatives_query": "transformed"},
        ways.STEP: step, ways.ROW: {"weights": "row"}, ways.NORMALIZED: {"renormalize": True}, ways.SLOW: slow,
    }  # fmt: skip
    for way, settings in told.items():
        both = first(way.choices(QUICK)["both"], QUICK).method
        assert both == method_of("moco_ft", **settings, **queue)
        base = {name: value for name, value in settings.items() if name == "momentum"}
        assert first(way.plain(QUICK), QUICK).method == method_of("moco", **base, **queue)
        own = {name: value for name, value in settings.items() if name != "negatives_query"}
        assert first(way.negatives(QUICK), QUICK).method == method_of("moco_ft", positives="none", **own, **queue)
    assert first(ways.LARGE.choices(QUICK)["both"], QUICK).method == method_of("moco_ft")
    assert list(ways.MAIN.momenta(QUICK)) == list(ways.LARGE.momenta(QUICK)) == [0.0, 0.5, 0.9, 0.99]
    assert list(ways.TO_HIGH.momenta(QUICK)) == [0.0, 0.5, 0.9, 0.99, 0.999]
    for value, arm in ways.TO_HIGH.momenta(QUICK).items():
        assert first(arm, QUICK).method == method_of("moco", momentum=value, **queue)
    assert {first(arm, QUICK).head.attention_scope for arm in (deep_fusion.JOINT,)} == {"joint"}
    changes = {name: first(change(transfusion_training.TRANSFUSION), QUICK).method
               for name, change in transfusion_training.BEST_OF.items()}  # fmt: skip
    assert list(changes.values()) == [
        method_of("transfusion", readout="relu"), method_of("transfusion", intermediate=0.0)
    ]  # fmt: skip
