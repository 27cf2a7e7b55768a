"""Which configurations a supernet is trained at."""

from hypothesis import given
from hypothesis import strategies as st

from subnets.sampling import Sampling
from subnets.space import SearchSpace

SPACE = SearchSpace("channels-64-pix2pix")


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 3),
    st.booleans(),
    st.integers(1, 5),
)
def test_draws_are_a_function_of_seed_and_step(seed, step, sandwich, per_image, images):
    draw = Sampling(SPACE, seed, sandwich, per_image)
    passes = draw(step, images)
    assert passes == Sampling(SPACE, seed, sandwich, per_image)(step, images)
    assert len(passes) == (2 + sandwich if sandwich else 1)
    drawn = passes[2:] if sandwich else passes
    for choice in drawn:
        assert isinstance(choice, tuple) == per_image
        for config in choice if per_image else [choice]:
            assert SPACE.holds(config)
        if per_image:
            assert len(choice) == images


def test_the_sandwich_has_the_largest_and_the_smallest_at_its_ends():
    passes = Sampling(SPACE, 0, 2)(5, 1)
    assert passes[:2] == [SPACE.largest, SPACE.smallest] and len(set(map(str, passes))) == 4


def test_without_options_a_step_is_one_random_configuration():
    assert Sampling(SPACE, 3)(7, 4) == [SPACE.draw_at(3, 7)]


def test_configurations_differ_between_steps_seeds_and_passes():
    drawn = [Sampling(SPACE, seed, 3)(step, 1)[2:] for seed in range(3) for step in range(20)]
    assert len({str(c) for passes in drawn for c in passes}) == 180


def test_processes_share_a_step_as_one_process_would_draw_it():
    joint = Sampling(SPACE, 1, 2, True, rank=0, batch=4)(9, 4)
    parts = [Sampling(SPACE, 1, 2, True, rank=rank, batch=2)(9, 2) for rank in (0, 1)]
    assert joint[:2] == parts[0][:2] == parts[1][:2]
    for whole, first, second in zip(joint[2:], parts[0][2:], parts[1][2:], strict=True):
        assert whole == first + second and len(set(whole)) == 4
    same = [Sampling(SPACE, 1, rank=rank, batch=2)(9, 2) for rank in (0, 1)]
    assert same[0] == same[1]


def test_a_typed_space_is_drawn_from_in_every_gene():
    space = SearchSpace("12,4;6,4;8;12,8,4;6;4;12,4;2,4")
    largest, smallest, *rest = (Sampling(space, 0, 300))(1, 1)
    assert (str(largest), str(smallest)) == ("12_6_8_12_6_4_12_4", "4_4_8_4_6_4_4_2")
    drawn = [set(genes) for genes in zip(*(config.genes for config in rest), strict=True)]
    assert drawn == [set(choices) for choices in space.choices]
